//! `device-manager metrics`: shows the catalogue, for people and for programs.

use std::process::ExitCode;

use catalogue::{
    self, Accepted, CodeUnit, CodedValue, Metric, SYSTEMS, Vocabulary, metric_by_code, metric_by_spelling, metrics,
};
use clap::Args;
use schemas::format::Defaults;
use serde_json::{Map, Value, json};

use super::catalogue_file::CatalogueArgs;
use crate::{error::CommandError, output::Output};

/// Show the metrics: their codes, the units that they accept, the possible range, and the names that each source uses.
///
/// Each row is one code. A value arrives in any of the accepted units and is stored in the unit of the code that its own
/// unit selects; no code is converted into another. A value outside the range is stored and flagged. Exit code 1 if a NAME
/// is not known.
#[derive(Args)]
#[command(after_help = "Examples:
  device-manager metrics body_weight           # by the key
  device-manager metrics 8867-4 150456         # by codes, here LOINC and MDC
  device-manager metrics SpO2 BodyMass         # by the names of sources, in upper or lower case
  device-manager metrics --json | jq -r 'select(any(.codes[].accepted[]; .unit == \"[lb_av]\")).key'")]
pub struct MetricsCommand {
    /// Print one JSON object per metric, with everything that is known of it. Numbers are strings, so that they remain exact.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    catalogue: CatalogueArgs,
    /// Keys, codes or spellings. By default all metrics are shown. If a word means several metrics, each is shown.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// A name is not known, or the catalogue is inconsistent.
pub fn run(args: &MetricsCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    args.catalogue.install()?;
    let found = select(&args.names)?;
    if args.json {
        for metric in found {
            output.json(&object(metric))?;
        }
    } else {
        for line in table(&found) {
            output.line(&line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the metrics with these names, in the order of the catalogue. Without a name, returns all metrics.
fn select(names: &[String]) -> Result<Vec<&'static Metric>, CommandError> {
    let mut wanted: Vec<&str> = Vec::new();
    for name in names {
        let before = wanted.len();
        wanted.extend(metrics().iter().map(Metric::key).filter(|key| key.eq_ignore_ascii_case(name)));
        wanted.extend(SYSTEMS.iter().filter_map(|(_, system)| metric_by_code(system, name)).map(Metric::key));
        let spelled = Vocabulary::ALL.into_iter().filter_map(|vocabulary| metric_by_spelling(vocabulary, name));
        wanted.extend(spelled.map(Metric::key));
        if wanted.len() == before {
            return Err(CommandError::failed("finding a metric", unknown(name)));
        }
    }
    Ok(metrics().iter().filter(|metric| names.is_empty() || wanted.contains(&metric.key())).collect())
}

/// Says what is wrong with a name, and what to type instead.
fn unknown(name: &str) -> String {
    let word = name.to_ascii_lowercase().replace(['-', ' '], "_");
    let near: Vec<&str> = metrics().iter().map(Metric::key).filter(|key| key.contains(&word)).take(5).collect();
    let way_out = if near.is_empty() {
        "`device-manager metrics` lists all".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    format!("no metric has the key, the code or the spelling '{name}'; {way_out}")
}

const HEADINGS: [&str; 7] = ["KEY", "DISPLAY", "CODE", "UNIT", "RANGE", "ACCEPTED", "SPELLINGS"];

/// Returns a heading and one row per code, in columns. What belongs to the metric is in its first row.
fn table(found: &[&Metric]) -> Vec<String> {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    for metric in found {
        let spellings: Vec<&str> =
            Vocabulary::ALL.iter().flat_map(|vocabulary| metric.spellings(*vocabulary)).map(String::as_str).collect();
        let mut of_metric = [metric.key().to_owned(), spellings.join(", ")];
        for code in metric.codes() {
            let [key, spellings] = std::mem::take(&mut of_metric);
            let display = code.display().to_owned();
            let unit = code.unit().map_or_else(|| format!("({})", metric.kind().as_str()), str::to_owned);
            let accepted: Vec<&str> = code.accepted().iter().map(Accepted::ucum).collect();
            let named = format!("{} {}", system_name(code.system()), code.code());
            rows.push([key, display, named, unit, range(code), accepted.join(", "), spellings]);
        }
    }
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; HEADINGS.len()]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn range(code: &CodeUnit) -> String {
    code.range().map(|range| format!("{} to {}", range.min().as_str(), range.max().as_str())).unwrap_or_default()
}

fn system_name(uri: &str) -> &str {
    SYSTEMS.iter().find(|(_, known)| *known == uri).map_or(uri, |(name, _)| *name)
}

fn object(metric: &Metric) -> Value {
    let words: Map<String, Value> = Vocabulary::ALL
        .into_iter()
        .map(|vocabulary| (vocabulary.as_str().to_owned(), json!({"spellings": metric.spellings(vocabulary)})))
        .collect();
    let defaults: Map<String, Value> =
        Defaults::ALL.into_iter().map(|of| (of.as_str().to_owned(), json!(metric.default_unit(of)))).collect();
    json!({
        "key": metric.key(),
        "display": metric.display(),
        "kind": metric.kind().as_str(),
        "codes": metric.codes().map(code).collect::<Vec<_>>(),
        "alternate_codes": metric.alternate_codes().map(|(system, code)| json!({"system": system, "code": code})).collect::<Vec<_>>(),
        "sources": words,
        "only_unit": metric.only_unit(),
        "default_units": defaults,
        "components": metric.components().map(Metric::key).collect::<Vec<_>>(),
        "values": metric.coded_values().iter().map(coded_value).collect::<Vec<_>>(),
    })
}

fn code(code: &CodeUnit) -> Value {
    let range =
        code.range().map(|range| json!({"min": range.min().as_str(), "max": range.max().as_str(), "why": range.why()}));
    json!({
        "system": code.system(),
        "code": code.code(),
        "display": code.display(),
        "unit": code.unit(),
        "property": code.property(),
        "range": range,
        "accepted": code.accepted().iter().map(accepted).collect::<Vec<_>>(),
    })
}

/// A unit, its spellings, and its conversion into the unit of the code: (value × factor + shift) ÷ divisor.
fn accepted(accepted: &Accepted) -> Value {
    let (factor, shift, divisor) = accepted.conversion().parts();
    let unit = catalogue::units().iter().find(|unit| unit.ucum() == accepted.ucum());
    let spellings: Vec<&String> = unit.into_iter().flat_map(|unit| unit.exact().iter().chain(unit.names())).collect();
    json!({
        "unit": accepted.ucum(),
        "spellings": spellings,
        "factor": factor.to_string(),
        "shift": shift.to_string(),
        "divisor": divisor.to_string(),
    })
}

fn coded_value(value: &CodedValue) -> Value {
    json!({"system": value.system(), "code": value.code(), "display": value.display(), "spellings": value.spellings()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn keys(words: &[&str]) -> Vec<&'static str> {
        select(&names(words)).unwrap().into_iter().map(Metric::key).collect()
    }

    #[test]
    fn a_metric_is_found_by_its_key_each_code_and_each_spelling() {
        assert_eq!(keys(&[]).len(), metrics().len());
        assert_eq!(keys(&["Body_Weight"]), ["body_weight"]);
        assert_eq!(keys(&["150456", "29463-7"]), ["oxygen_saturation", "body_weight"]);
        assert_eq!(keys(&["spo2"]), ["oxygen_saturation"]);
        assert_eq!(keys(&["HKQuantityTypeIdentifierHeartRate", "pulse"]), ["heart_rate"]);
        assert_eq!(keys(&["Cholesterol"]), ["cholesterol", "dietary_cholesterol"]);
    }

    #[test]
    fn an_unknown_metric_fails_with_a_suggestion() {
        for (name, way_out) in [("glucose level", "lists all"), ("blood-pres", "did you mean blood_pressure,")] {
            let error = select(&names(&["pulse", name])).map(|_| ()).unwrap_err();
            let text = crate::error::chain(&error);
            assert!(text.contains(&format!("'{name}'")) && text.contains(way_out), "{text}");
            assert_eq!(error.exit_code(), ExitCode::from(1));
        }
    }

    #[test]
    fn the_table_is_aligned_and_lists_all_codes() {
        let lines = table(&select(&names(&["blood_glucose", "blood_pressure"])).unwrap());
        let [heading, pressure, mass, substance] = lines.as_slice() else { panic!("{lines:?}") };
        for (heading_of, line, cell) in [
            ("KEY", pressure, "blood_pressure "),
            ("UNIT", pressure, "(panel) "),
            ("CODE", mass, "loinc 2339-0 "),
            ("UNIT", mass, "mg/dL "),
            ("RANGE", mass, "0 to 3000 "),
            ("ACCEPTED", mass, "mg/dL, g/L, g/dL, mg/L "),
            ("SPELLINGS", mass, "glucose, bloodGlucose, HKQuantityTypeIdentifierBloodGlucose"),
            ("KEY", substance, " "),
            ("DISPLAY", mass, "Glucose [Mass/volume] in Blood "),
            ("DISPLAY", substance, "Glucose [Moles/volume] in Blood "),
            ("CODE", substance, "loinc 15074-8 "),
        ] {
            let column = heading.find(heading_of).unwrap();
            assert!(line[column..].starts_with(cell), "{heading_of}: {line}");
        }
    }

    #[test]
    fn a_json_object_has_all_facts_of_its_metric() {
        let [weight, stand, rate] = [keys(&["body_weight"]), keys(&["apple_stand_hour"]), keys(&["heart_rate"])]
            .map(|keys| object(metrics().iter().find(|metric| metric.key() == keys[0]).unwrap()));
        let code = &weight["codes"][0];
        assert_eq!((&code["code"], &code["range"]["max"]), (&json!("29463-7"), &json!("700")));
        let pound = code["accepted"].as_array().unwrap().iter().find(|unit| unit["unit"] == "[lb_av]").unwrap();
        assert_eq!((&pound["factor"], &pound["divisor"]), (&json!("45359237"), &json!("100000000")));
        assert!(pound["spellings"].as_array().unwrap().contains(&json!("lbs")));
        assert_eq!(weight["default_units"]["react-native-health"], "[lb_av]");
        assert_eq!((&weight["only_unit"], &rate["only_unit"]), (&Value::Null, &json!("/min")));
        assert!(weight["alternate_codes"].as_array().unwrap().iter().any(|code| code["code"] == "27113001"));
        assert_eq!((&stand["kind"], &stand["values"][1]["spellings"][1]), (&json!("coded"), &json!("Idle")));
        let panel = object(select(&names(&["blood_pressure"])).unwrap()[0]);
        assert_eq!(panel["components"][0], "systolic_blood_pressure");
    }
}
