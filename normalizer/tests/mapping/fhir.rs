//! Edge cases of FHIR: partial values, and references to the devices of a Bundle.

use normalizer::Normalized;
use schemas::{
    event::{Missing, Reading, Value},
    format::{Format, RawTopic},
    raw::RecordKind,
};

use crate::record::{self, headers};

fn normalized(body: &str) -> Normalized {
    record::normalized(RawTopic::Medisante, headers(RecordKind::Payload(Format::FhirJson), "hub"), body.as_bytes(), 0)
}

fn observation(fields: &str) -> Option<Reading> {
    let body = format!(
        r#"{{"resourceType":"Observation","id":"o","status":"final",
            "code":{{"coding":[{{"system":"urn:local","code":"c"}}]}},{fields}}}"#
    );
    normalized(&body).readings.pop()
}

#[test]
fn a_partial_value_is_not_treated_as_absent() {
    for half in [
        r#""valueRange":{"low":{"value":1,"unit":"m"}}"#,
        r#""valueRange":{"high":{"value":1,"unit":"m"}}"#,
        r#""valueRatio":{"numerator":{"value":1,"unit":"m"}}"#,
        r#""valuePeriod":{"start":"2026-03-01"}"#,
        r#""valuePeriod":{"end":"2026-03-01"}"#,
    ] {
        let reading = observation(&format!(r#"{half},"dataAbsentReason":{{"coding":[{{"code":"masked"}}]}}"#));
        // A partial value may be refused, but is never treated as absent.
        assert!(reading.is_none_or(|reading| !matches!(reading.value, Value::Absent(_))), "{half}");
    }
    for nothing in [r#""valueRange":{}"#, r#""valuePeriod":{}"#, r#""valueQuantity":{"unit":"m"}"#] {
        let reading = observation(&format!(r#"{nothing},"dataAbsentReason":{{"coding":[{{"code":"masked"}}]}}"#));
        assert!(reading.is_some_and(|reading| reading.value == Value::Absent(Missing::Masked)), "{nothing}");
    }
}

/// The start and end of an observation, in microseconds; `None` if the period is refused.
fn lasted(period: &str) -> Option<(i64, i64)> {
    let reading = observation(&format!(r#""valueInteger":1,"effectivePeriod":{period}"#))?;
    Some((reading.measured_from?, reading.measured_until?))
}

#[test]
fn a_day_next_to_a_time_has_the_offset_of_the_time() {
    let period = |start: &str, end: &str| lasted(&format!(r#"{{"start":"{start}","end":"{end}"}}"#));
    let times = |start: &str, end: &str| period(start, end).unwrap();
    // The day ends at midnight in New York, and begins at midnight in Tokyo.
    assert_eq!(
        period("2024-03-01T20:00:00-05:00", "2024-03-01"),
        Some(times("2024-03-02T01:00:00Z", "2024-03-02T05:00:00Z"))
    );
    assert_eq!(
        period("2024-03-01", "2024-03-01T05:00:00+09:00"),
        Some(times("2024-02-29T15:00:00Z", "2024-02-29T20:00:00Z"))
    );
    assert!(period("2024-12-31T20:00:00-05:00", "2024").is_some());
    assert!(period("2024-03-01", "2024-03-01").is_some());
    assert_eq!(period("2024-03-02T00:30:00+05:45", "2024-03-01"), None);
    assert_eq!(period("2024-03-02", "2024-03-01"), None);
}

#[test]
fn braces_inside_a_string_are_not_counted_as_objects() {
    let note = format!(r#""valueInteger":1,"note":[{{"text":"\"{}"}}]"#, "{".repeat(2_000));
    assert!(observation(&note).is_some());
}

#[test]
fn a_ucum_code_without_a_metric_is_stored_unchanged() {
    for code in ["dB", "C", "F", "st", "G", "mm[Hg]", "µV"] {
        let unit = format!(r#""unit":"x","system":"http://unitsofmeasure.org","code":"{code}""#);
        let reading = observation(&format!(r#""valueQuantity":{{"value":1,{unit}}}"#)).unwrap();
        let Value::Quantity(quantity) = &reading.value else { panic!("{code}: not a quantity") };
        assert_eq!(quantity.unit, code);
        let sampled =
            format!(r#""valueSampledData":{{"origin":{{"value":0,{unit}}},"period":1,"dimensions":1,"data":"1"}}"#);
        let reading = observation(&sampled).unwrap();
        let Value::Waveform(waveform) = &reading.value else { panic!("{code}: not a waveform") };
        assert_eq!(waveform.unit, code);
    }
    let other = observation(r#""valueQuantity":{"value":1,"unit":"mmHg"}"#).unwrap();
    assert!(matches!(&other.value, Value::Quantity(quantity) if quantity.unit == "mmHg"));
}

/// A Quantity has many members, of which only some are recorded.
#[test]
fn a_misspelt_comparator_after_many_unknown_members_is_refused() {
    let unknown: Vec<String> = (0..100).map(|number| format!(r#""x{number}":1"#)).collect();
    let unknown = unknown.join(",");
    let with = |last: &str| observation(&format!(r#""valueQuantity":{{"value":1,"unit":"m",{unknown},{last}}}"#));
    assert!(with(r#""y":1"#).is_some());
    assert!(with(r#""COMPARATOR":">""#).is_none());
}

#[test]
fn a_component_without_a_number_and_a_reason_has_the_reason_unknown() {
    let reading = observation(r#""component":[{"code":{"text":"part"},"valueQuantity":{"unit":"m"}}]"#);
    assert!(reading.is_some_and(|reading| reading.components[0].value == Value::Absent(Missing::Unknown)));
}

#[test]
fn a_device_of_the_bundle_without_an_identifier_is_identified_by_its_id() {
    let body = r#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"fullUrl":"urn:uuid:0e000000-0000-4000-8000-000000000001","resource":{"resourceType":"Device","id":"dev-7"}},
        {"fullUrl":"urn:uuid:0e000000-0000-4000-8000-000000000002","resource":{"resourceType":"Observation","status":"final",
            "code":{"text":"x"},"valueInteger":1,"device":{"reference":"urn:uuid:0e000000-0000-4000-8000-000000000001"}}}]}"#;
    let found = normalized(body);
    assert_eq!(found.readings[0].device.as_ref().map(|device| device.id.as_str()), Some("dev-7"));
}
