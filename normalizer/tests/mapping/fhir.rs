//! The edges of FHIR: values that are there in part, and the names of a Bundle's devices.

use normalizer::Normalized;
use schemas::{
    event::{Missing, Reading, Value},
    format::{Format, RawTopic},
    raw::Kind,
};

use crate::record::{self, headers};

fn normalized(body: &str) -> Normalized {
    record::normalized(RawTopic::Medisante, headers(Kind::Payload(Format::FhirJson), "hub"), body.as_bytes(), 0)
}

fn observation(fields: &str) -> Option<Reading> {
    let body = format!(
        r#"{{"resourceType":"Observation","id":"o","status":"final",
            "code":{{"coding":[{{"system":"urn:local","code":"c"}}]}},{fields}}}"#
    );
    normalized(&body).readings.pop()
}

#[test]
fn half_of_a_value_is_not_absent() {
    for half in [
        r#""valueRange":{"low":{"value":1,"unit":"m"}}"#,
        r#""valueRange":{"high":{"value":1,"unit":"m"}}"#,
        r#""valueRatio":{"numerator":{"value":1,"unit":"m"}}"#,
        r#""valuePeriod":{"start":"2026-03-01"}"#,
        r#""valuePeriod":{"end":"2026-03-01"}"#,
    ] {
        let reading = observation(&format!(r#"{half},"dataAbsentReason":{{"coding":[{{"code":"masked"}}]}}"#));
        // A half may be refused, but is never taken for nothing.
        assert!(reading.is_none_or(|reading| !matches!(reading.value, Value::Absent(_))), "{half}");
    }
    for nothing in [r#""valueRange":{}"#, r#""valuePeriod":{}"#, r#""valueQuantity":{"unit":"m"}"#] {
        let reading = observation(&format!(r#"{nothing},"dataAbsentReason":{{"coding":[{{"code":"masked"}}]}}"#));
        assert!(reading.is_some_and(|reading| reading.value == Value::Absent(Missing::Masked)), "{nothing}");
    }
}

#[test]
fn a_component_without_a_number_and_without_a_reason_is_unknown() {
    let reading = observation(r#""component":[{"code":{"text":"part"},"valueQuantity":{"unit":"m"}}]"#);
    assert!(reading.is_some_and(|reading| reading.components[0].value == Value::Absent(Missing::Unknown)));
}

#[test]
fn a_device_of_the_bundle_without_an_identifier_is_known_by_its_id() {
    let body = r#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"fullUrl":"urn:uuid:0e000000-0000-4000-8000-000000000001","resource":{"resourceType":"Device","id":"dev-7"}},
        {"fullUrl":"urn:uuid:0e000000-0000-4000-8000-000000000002","resource":{"resourceType":"Observation","status":"final",
            "code":{"text":"x"},"valueInteger":1,"device":{"reference":"urn:uuid:0e000000-0000-4000-8000-000000000001"}}}]}"#;
    let found = normalized(body);
    assert_eq!(found.readings[0].device.as_ref().map(|device| device.id.as_str()), Some("dev-7"));
}
