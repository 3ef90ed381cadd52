//! The edges of a Medisanté message: texts as values, and annotations.

use normalizer::Normalized;
use schemas::{
    event::Value,
    format::{Format, RawTopic},
    raw::Kind,
    rejection::Reason,
};

use crate::record::{self, headers};

fn measured(measurement: &str, rest: &str) -> Normalized {
    let headers = headers(Kind::Payload(Format::StandardJson), "portal");
    let body = format!(
        r#"{{"device":{{"id":"d"}},"metadata":{{"receivedTime":"2026-03-01T08:00:00Z"}},
            "measurements":{{"timestamp":"2026-03-01T08:00:00Z","gait":{measurement}{rest}}}}}"#
    );
    record::normalized(RawTopic::Medisante, headers, body.as_bytes(), 0)
}

#[test]
fn a_text_of_4096_bytes_is_a_value_and_a_longer_one_is_not() {
    let outcome = |text: &str| {
        let found = measured(&format!("{{\"value\":\"{text}\"}}"), "");
        (found.readings.first().map(|reading| reading.value.clone()), found.rejections.first().map(|r| r.reason))
    };
    let long = "n".repeat(4_096);
    assert!(outcome(&long) == (Some(Value::Text(long.clone())), None));
    for more in ["n", "nn"] {
        assert!(outcome(&[&long, more].concat()) == (None, Some(Reason::ValueInvalid)));
    }
    // A number is one also between quotes.
    assert!(matches!(outcome(" 12 "), (Some(Value::Quantity(quantity)), None) if quantity.value == "12"));
}

#[test]
fn up_to_1000_annotations_are_taken_apart() {
    let parts = |count: usize| {
        let annotations = (0..count).map(|number| format!("\"a{number}\":true")).collect::<Vec<_>>().join(",");
        let found = measured(r#"{"value":1,"unit":"s"}"#, &format!(",\"annotations\":{{{annotations}}}"));
        found.readings[0].components.len()
    };
    assert_eq!(parts(1_000), 1_000);
    assert_eq!(parts(1_001), 1);
}
