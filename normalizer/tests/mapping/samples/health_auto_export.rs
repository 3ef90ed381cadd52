use std::collections::BTreeSet;

use schemas::{
    event::{Reading, Value},
    format::{Format, RawTopic},
    rejection::Reason,
};

use crate::record::reasons;

use super::{
    files::{names, normalized, read},
    folder::folder,
};

const FOLDER: &str = "health-auto-export";

/// Name, number of readings, and the reason of each refused item.
const FILES: &[(&str, usize, &[Reason])] = &[
    ("01-marshal-metrics.json", 2, &[]),
    ("03-marshal-aggregated-sleep-analysis.json", 1, &[]),
    ("05-INVALID-invalid-json.json", 0, &[Reason::Malformed]),
    ("07-unmarshal-metrics.json", 2, &[]),
    ("09-unmarshal-aggregated-sleep-analysis.json", 1, &[]),
    ("11-unmarshal-aggregated-sleep-analysis.json", 1, &[]),
];

fn readings(file: &str) -> Option<Vec<Reading>> {
    let body = read(&format!("{FOLDER}/{file}"))?;
    Some(normalized(RawTopic::HealthKit, Format::HealthAutoExport, &body, None).readings)
}

fn quantity(value: &Value) -> String {
    let Value::Quantity(quantity) = value else { panic!("the value is not a quantity") };
    format!("{} {} of {}", quantity.value, quantity.unit, quantity.source_value)
}

#[test]
fn each_file_gives_the_expected_readings() {
    if folder().is_none() {
        return;
    }
    for (file, count, refused) in FILES {
        let body = read(&format!("{FOLDER}/{file}")).unwrap();
        let found = normalized(RawTopic::HealthKit, Format::HealthAutoExport, &body, None);
        let reasons = reasons(&found);
        assert_eq!((found.readings.len(), reasons.as_slice()), (*count, *refused), "{file}");
    }
}

#[test]
fn kilojoules_become_kilocalories_at_the_time_that_is_written() {
    let Some(readings) = readings("07-unmarshal-metrics.json") else { return };
    assert_eq!(quantity(&readings[0].value), "0.183692099366265 kcal of 0.76856774374845116");
    assert_eq!(readings[0].measured_text.as_deref(), Some("2021-12-24 00:04:00 +0800"));
    assert_eq!((readings[0].measured_from, readings[0].offset_minutes), (Some(1_640_275_440_000_000), Some(480)));
}

#[test]
fn a_night_has_the_hours_of_its_stages_and_the_span_of_its_sleep() {
    let Some(readings) = readings("11-unmarshal-aggregated-sleep-analysis.json") else { return };
    let night = &readings[0];
    let hours = night.components.iter().filter(|part| matches!(part.value, Value::Quantity(_)));
    let stages: BTreeSet<&str> = hours.map(|part| part.source_codes[0].code.as_ref()).collect();
    let known = ["asleep", "inBed", "core", "deep", "rem", "awake"].map(|stage| format!("sleep_analysis.{stage}"));
    assert_eq!(stages, known.iter().map(String::as_str).collect());
    assert_eq!(night.measured_text.as_deref(), Some("2023-01-31 00:23:47 +0800"));
    assert_eq!(night.measured_until_text.as_deref(), Some("2023-01-31 08:39:12 +0800"));
}

#[test]
fn every_file_is_tested() {
    let Some(found) = names(FOLDER, ".json") else { return };
    assert_eq!(found, FILES.iter().map(|(file, ..)| (*file).to_owned()).collect());
}
