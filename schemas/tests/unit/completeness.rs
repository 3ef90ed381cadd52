//! Everything that the sources are known to send is in the catalogue.

use std::{collections::BTreeSet, io::Write as _, path::PathBuf};

use schemas::catalogue::{self, HEALTHKIT, Kind, LOINC, MDC, Metric, Vocabulary, metric_by_code, metric_by_spelling};
use serde_json::Value;

/// The vital signs of FHIR R4 (its vital-signs profiles, tables "required codes" and "other recommended codes") with a unit of
/// each that a profile prescribes, and so the members of LOINC 85353-1.
const VITAL_SIGNS: [(&str, &str, &str); 17] = [
    ("9279-1", "respiratory_rate", "/min"),
    ("8867-4", "heart_rate", "/min"),
    ("2708-6", "oxygen_saturation", "%"),
    ("59408-5", "oxygen_saturation", "%"),
    ("8310-5", "body_temperature", "Cel"),
    ("8310-5", "body_temperature", "[degF]"),
    ("8302-2", "body_height", "cm"),
    ("8306-3", "body_height", "[in_i]"),
    ("9843-4", "head_circumference", "cm"),
    ("8287-5", "head_circumference", "[in_i]"),
    ("29463-7", "body_weight", "kg"),
    ("3141-9", "body_weight", "[lb_av]"),
    ("3141-9", "body_weight", "g"),
    ("39156-5", "body_mass_index", "kg/m2"),
    ("8480-6", "systolic_blood_pressure", "mm[Hg]"),
    ("8462-4", "diastolic_blood_pressure", "mm[Hg]"),
    ("8478-0", "mean_blood_pressure", "mm[Hg]"),
];

#[test]
fn the_vital_signs_of_fhir() {
    for (code, key, unit) in VITAL_SIGNS {
        let metric = metric_by_code(LOINC, code).unwrap_or_else(|| panic!("{code}"));
        assert_eq!(metric.key(), key);
        assert!(takes(metric, unit), "{code} in {unit}");
    }
    let panel = metric_by_code(LOINC, "85353-1").unwrap();
    let members: BTreeSet<&str> = panel
        .components()
        .flat_map(|member| std::iter::once(member).chain(member.components()))
        .filter(|member| member.kind() != Kind::Panel)
        .map(Metric::key)
        .collect();
    assert_eq!(members, VITAL_SIGNS.iter().map(|(_, key, _)| *key).collect());
}

/// What Medisanté's devices send, by key, with the units seen, `None` for what has none.
#[test]
fn the_keys_of_medisante() {
    for (key, units) in [
        ("systolicBloodPressure", ["mmHg", "Pa"].as_slice()),
        ("diastolicBloodPressure", &["mmHg", "Pa"]),
        ("meanBloodPressure", &["mmHg", "Pa"]),
        ("pulse", &["bpm"]),
        ("bodyWeight", &["g", "kg"]),
        ("bodyComposition", &["Ω"]),
        ("glucose", &["mg/dL", "mmol/L"]),
        ("ambientTemperature", &["°C"]),
        ("hematocrit", &["%"]),
        ("SpO2", &["%"]),
        ("temperature", &["°C"]),
        ("ketone", &["mmol/L"]),
        ("uricacid", &["mg/dL"]),
        ("cholesterol", &["mg/dL"]),
        ("ecgSamples", &[]),
        ("ecgReportBase64PDF", &[]),
    ] {
        let metric = metric_by_spelling(Vocabulary::Medisante, key).unwrap_or_else(|| panic!("{key}"));
        assert!(units.iter().all(|unit| takes(metric, unit)), "{key}");
    }
}

#[test]
fn the_types_of_healthkit_on_fhir() {
    let Some(mapping) = sample("healthkitonfhir/HKSampleMapping.json") else { return };
    let section = |name: &str| mapping[name].as_object().unwrap();
    let (quantities, categories) = (section("HKQuantitySamples"), section("HKCategorySamples"));
    assert_eq!((quantities.len(), categories.len()), (119, 68));
    let correlations = section("HKCorrelations");
    for (name, mapped) in quantities.iter().chain(categories).chain(correlations) {
        let metric = metric_by_spelling(Vocabulary::HealthKit, name).unwrap_or_else(|| panic!("{name}"));
        let known =
            mapped["codings"].as_array().unwrap().iter().filter_map(|coding| {
                metric_by_code(coding["system"].as_str().unwrap(), coding["code"].as_str().unwrap())
            });
        let known: BTreeSet<&str> = known.map(Metric::key).collect();
        // These two carry the code of another type; its unit does not fit, so that their values are refused and not mistaken.
        let mistaken = match name.as_str() {
            "HKQuantityTypeIdentifierAtrialFibrillationBurden" => Some("apple_sleeping_wrist_temperature"),
            "HKQuantityTypeIdentifierCyclingSpeed" => Some("cycling_functional_threshold_power"),
            _ => None,
        };
        assert_eq!(known, BTreeSet::from([mistaken.unwrap_or(metric.key())]), "{name}");
        let unit = &mapped["unit"];
        for unit in ["code", "unit", "hkunit"].iter().filter_map(|way| unit[way].as_str()) {
            assert!(takes(metric, unit), "{name} in {unit}");
            assert!(
                mistaken.is_none_or(|key| !takes(catalogue::metric_by_key(key).unwrap(), unit)),
                "{name} in {unit}"
            );
        }
    }
    let documented = text("healthkitonfhir/SupportedHKCategoryTypes.md").unwrap();
    let mut names = 0;
    for name in documented.split("healthkit/").skip(1).filter_map(|rest| rest.split(')').next()) {
        if name.starts_with("HKCategoryTypeIdentifier") {
            assert!(metric_by_code(HEALTHKIT, name).is_some(), "{name}");
            names += 1;
        }
    }
    assert!(names > 50, "{names}");
}

#[test]
fn the_codes_of_the_personal_health_device_guide() {
    let Some(folder) = samples() else { return };
    let mut codes = BTreeSet::new();
    for file in std::fs::read_dir(folder.join("hl7-phd")).unwrap() {
        if let Ok(document) = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()) {
            observed(&document, &mut codes);
        }
    }
    codes.retain(|code| metric_by_code(MDC, code).is_none());
    // No readings of a patient: MDC_ATTR_TIME_ABS is the clock of the device, and MDC_ATTR_SUPPLEMENTAL_TYPES says how an
    // oximeter measured.
    assert_eq!(codes, BTreeSet::from(["67975", "68193"].map(str::to_owned)));
}

/// The MDC codes of all observations and components in a document.
fn observed(document: &Value, codes: &mut BTreeSet<String>) {
    match document {
        Value::Array(items) => items.iter().for_each(|item| observed(item, codes)),
        Value::Object(members) => {
            let is_observation = members.get("resourceType").is_some_and(|name| name == "Observation");
            let parts = members.get("component").and_then(Value::as_array).into_iter().flatten();
            for coded in parts.chain(is_observation.then_some(document)) {
                let codings = coded["code"]["coding"].as_array().into_iter().flatten();
                let mdc = codings.filter(|coding| coding["system"] == MDC).filter_map(|coding| coding["code"].as_str());
                codes.extend(mdc.map(str::to_owned));
            }
            members.values().for_each(|member| observed(member, codes));
        }
        _ => {}
    }
}

fn takes(metric: &Metric, unit: &str) -> bool {
    let unit = catalogue::ucum_of(unit);
    metric.codes().flat_map(catalogue::CodeUnit::accepted).any(|accepted| Some(accepted.ucum()) == unit)
}

fn sample(path: &str) -> Option<Value> {
    text(path).map(|text| serde_json::from_str(&text).unwrap())
}

fn text(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(samples()?.join(path)).unwrap())
}

/// The samples beside the repository, if they are there.
fn samples() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/samples");
    if !folder.is_dir() {
        // Past the capture of the tests' output: who runs them shall see it.
        let (thread, mut stderr) = (std::thread::current(), std::io::stderr());
        writeln!(stderr, "skipped {}: no ../shared/samples", thread.name().unwrap_or("a test")).unwrap();
        return None;
    }
    Some(folder)
}
