use schemas::{
    event::{Precision, Reading, Value},
    format::{Format, RawTopic},
    rejection::Reason,
};

use super::files::{normalized, read};

const CAPTURE: &str = "medisante/pryv-capture/body.json";

fn capture() -> Option<Reading> {
    let mut found = normalized(RawTopic::Medisante, Format::StandardJson, &read(CAPTURE)?, None);
    assert_eq!((found.items(), found.readings.len()), (1, 1));
    found.readings.pop()
}

#[test]
fn the_captured_request_is_one_glucose_reading() {
    let Some(reading) = capture() else { return };
    assert_eq!((reading.code.system.as_ref(), reading.code.code.as_ref()), ("http://loinc.org", "15074-8"));
    let Value::Quantity(quantity) = &reading.value else { panic!("the value is not a quantity") };
    assert_eq!((quantity.value.as_str(), quantity.unit.as_ref()), ("5.5", "mmol/L"));
    assert_eq!((quantity.source_value.as_str(), quantity.source_unit.as_deref()), ("5.5", Some("mmol/L")));
    let device = reading.device.as_ref().unwrap();
    assert_eq!((device.id.as_str(), device.serial.as_deref()), ("900000000000001", Some("90-TEST-01")));
    assert!(reading.flags.is_empty());
}

#[test]
fn the_captured_request_keeps_its_time_as_written() {
    let Some(reading) = capture() else { return };
    assert_eq!(reading.measured_from, Some(1_581_076_487_262_522));
    assert_eq!(reading.measured_text.as_deref(), Some("2020-02-07T11:54:47.262522052Z"));
    assert!(reading.time_precision == Precision::Nanosecond);
    assert_eq!(reading.source_updated_at, Some(1_581_076_487_262_521));
}

#[test]
fn a_weight_without_a_unit_is_not_guessed() {
    let Some(body) = read("medisante/pryv-capture/README-body-weight-composition.json") else { return };
    let found = normalized(RawTopic::Medisante, Format::StandardJson, &body, None);
    assert_eq!((found.readings.len(), found.rejections.len()), (0, 1));
    assert!(found.rejections[0].reason == Reason::UnitMissing);
}
