//! Edge cases of a Medisanté message: texts as values, and annotations.

use normalizer::Normalized;
use schemas::{
    event::{Component, Flag, Reading, Value},
    format::{Format, RawTopic},
    raw::RecordKind,
    rejection::Reason,
};

use crate::record::{self, headers};

fn measured(measurement: &str, rest: &str) -> Normalized {
    let headers = headers(RecordKind::Payload(Format::StandardJson), "portal");
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
    // A number in quotes is a number, and so needs a unit.
    assert!(outcome(" 12 ") == (None, Some(Reason::UnitMissing)));
}

/// The codes of the readings that have an annotation, and the number of refused items.
#[test]
fn an_unknown_measurement_with_a_text_also_says_whether_it_is_in_range() {
    let with = |is_in_range: &str| {
        let found = measured(&format!(r#"{{"value":"slow","isInRange":{is_in_range}}}"#), "");
        let is_out = |reading: &Reading| reading.flags.contains(&Flag::SenderOutOfRange);
        (found.readings.first().map(is_out), found.rejections.first().map(|refused| refused.reason))
    };
    assert_eq!(with("true"), (Some(false), None));
    assert_eq!(with("false"), (Some(true), None));
    assert_eq!(with(r#""no""#), (None, Some(Reason::UnexpectedShape)));
}

#[test]
fn half_of_a_blood_pressure_is_refused_and_a_missing_mean_is_not() {
    let read = |systolic: &str, diastolic: &str, mean: &str| {
        let pressures = format!(
            r#","systolicBloodPressure":{systolic},"diastolicBloodPressure":{diastolic},"meanBloodPressure":{mean}"#
        );
        let found = measured("true", &pressures);
        (found.readings.len(), found.rejections.first().map(|refused| refused.reason))
    };
    let whole = r#"{"value":80,"unit":"mmHg"}"#;
    for none in ["null", "{}", r#"{"unit":"mmHg"}"#, r#"{"value":null,"unit":"mmHg"}"#] {
        assert_eq!(read(whole, whole, none), (2, None), "{none}");
        assert_eq!(read(whole, none, whole), (1, Some(Reason::ValueMissing)), "{none}");
        assert_eq!(read(none, whole, none), (1, Some(Reason::ValueMissing)), "{none}");
    }
}

fn annotated(measurement_type: &str, measurements: &str) -> (Vec<String>, usize) {
    let headers = headers(RecordKind::Payload(Format::StandardJson), "portal");
    let body = format!(
        r#"{{"metadata":{{"measurementType":"{measurement_type}"}},
            "measurements":{{"annotations":{{"mealTag":"before"}},{measurements},"timestamp":"2026-03-01T08:00:00Z"}}}}"#
    );
    let found = record::normalized(RawTopic::Medisante, headers, body.as_bytes(), 0);
    let is_tag = |component: &Component| component.code.code == "mealTag";
    let with = found.readings.iter().filter(|reading| reading.components.iter().any(is_tag));
    (with.map(|reading| reading.code.code.to_string()).collect(), found.rejections.len())
}

#[test]
fn annotations_are_in_the_same_reading_in_any_order_of_the_measurements() {
    let one = |code: &str, refused: usize| (vec![code.to_owned()], refused);
    let glucose = r#""glucose":{"value":6.1,"unit":"mmol/L"}"#;
    let room = r#""ambientTemperature":{"value":22.5,"unit":"Cel"}"#;
    for measurements in [format!("{room},{glucose}"), format!("{glucose},{room}")] {
        assert_eq!(annotated("Glucose", &measurements), one("15074-8", 0));
    }
    // The measurement that the type names was refused, or the type names none.
    assert_eq!(annotated("Glucose", &format!("\"glucose\":null,{room}")), one("60832-3", 1));
    for measurements in [format!("{room},{glucose}"), format!("{glucose},{room}")] {
        assert_eq!(annotated("Other", &measurements), one("60832-3", 0));
        assert_eq!(annotated("", &measurements), one("60832-3", 0));
    }
    let (samples, pulse) =
        (r#""ecgSamples":{"samples":[1],"frequency":250,"unit":"mV"}"#, r#""pulse":{"value":60,"unit":"bpm"}"#);
    let (weight, impedance) =
        (r#""bodyWeight":{"value":80,"unit":"kg"}"#, r#""bodyComposition":{"value":500,"unit":"Ohm"}"#);
    for [first, second, third, fourth] in [[samples, pulse, weight, impedance], [pulse, samples, impedance, weight]] {
        assert_eq!(annotated("ECG", &format!("{first},{second}")), one("HKElectrocardiogram", 0));
        assert_eq!(annotated("BodyWeightComposition", &format!("{third},{fourth}")), one("29463-7", 0));
    }
    let pressure = r#""systolicBloodPressure":{"value":120,"unit":"mmHg"}"#;
    assert_eq!(annotated("Glucose", &format!("{glucose},{pressure}")), one("85354-9", 0));
    let refused = r#""systolicBloodPressure":{"value":"x","unit":"mmHg"}"#;
    assert_eq!(annotated("BloodPressure", &format!("{refused},{glucose}")), one("15074-8", 1));
    let document = r#""documents":{"ecgReportBase64PDF":"JVBERi0xLjQK"}"#;
    assert_eq!(annotated("ECG", document), one("11524-6", 0));
}

#[test]
fn a_corrected_annotation_is_another_content_of_the_same_reading() {
    let of = |annotations: &str| {
        let rest = format!(",\"annotations\":{annotations}");
        measured(r#"{"value":1,"unit":"s"}"#, &rest).readings.remove(0)
    };
    let before = of(r#"{"mealTag":"before"}"#);
    for other in [r#"{"mealTag":"after"}"#, r#"{"mealtag":"before"}"#, r#"{"mealTag":1}"#, r#"{"mealTag":true}"#, "{}"]
    {
        let other = of(other);
        assert!(before.reading_id == other.reading_id && before.content != other.content);
    }
    assert_ne!(of(r#"{"mealTag":true}"#).content, of(r#"{"mealTag":false}"#).content);
    assert_eq!(before.content, of(r#"{ "mealTag": "before" }"#).content);
    assert_eq!(of(r#"{"a":1,"b":2}"#).content, of(r#"{"b":2,"a":1}"#).content);
}

#[test]
fn a_numeric_model_is_read_and_an_electrocardiogram_without_samples_is_refused() {
    let headers = headers(RecordKind::Payload(Format::StandardJson), "portal");
    let body = r#"{"device":{"id":1,"model":1200,"manufacturer":7},"measurements":{"timestamp":"2026-03-01T08:00:00Z",
        "pulse":{"value":60,"unit":"bpm"},"ecgSamples":{"samples":[],"frequency":250,"unit":"mV"}}}"#;
    let found = record::normalized(RawTopic::Medisante, headers, body.as_bytes(), 0);
    let device = found.readings[0].device.as_ref().unwrap();
    assert_eq!((device.model.as_deref(), device.manufacturer.as_deref()), (Some("1200"), Some("7")));
    assert_eq!(found.rejections.iter().map(|refused| refused.reason).collect::<Vec<_>>(), [Reason::ValueMissing]);
}

#[test]
fn up_to_1000_annotations_become_components() {
    let parts = |count: usize| {
        let annotations = (0..count).map(|number| format!("\"a{number}\":true")).collect::<Vec<_>>().join(",");
        let found = measured(r#"{"value":1,"unit":"s"}"#, &format!(",\"annotations\":{{{annotations}}}"));
        found.readings[0].components.len()
    };
    assert_eq!(parts(1_000), 1_000);
    assert_eq!(parts(1_001), 1);
}
