//! Edge cases of Health Auto Export: the longest names and units, and the fields that are left out.

use normalizer::Normalized;
use schemas::{
    event::{Component, Flag, Missing, Value},
    format::{Format, RawTopic},
    raw::RecordKind,
    rejection::Reason,
};

use crate::record::{self, headers};

const DATE: &str = r#""date":"2026-03-01 08:00:00 +0100","start":"2026-03-01 08:00:00 +0100""#;

fn normalized(data: &str) -> Normalized {
    let headers = headers(RecordKind::Payload(Format::HealthAutoExport), "app");
    record::normalized(RawTopic::HealthKit, headers, format!("{{\"data\":{{{data}}}}}").as_bytes(), 0)
}

fn metric(name: &str, units: &str, fields: &str) -> Normalized {
    normalized(&format!(r#""metrics":[{{"name":"{name}","units":"{units}","data":[{{{DATE},{fields}}}]}}]"#))
}

fn workout(fields: &str) -> Normalized {
    normalized(&format!(r#""workouts":[{{"name":"Walk",{DATE},{fields}}}]"#))
}

/// The components of the only reading that come from the field `extra`.
fn parts(found: &Normalized) -> Vec<&Component> {
    assert_eq!((found.readings.len(), found.rejections.len()), (1, 0));
    found.readings[0].components.iter().filter(|part| part.code.code.contains("extra")).collect()
}

fn is_too_long(found: &Normalized) -> bool {
    match (found.readings.as_slice(), found.rejections.as_slice()) {
        ([_], []) => false,
        ([], [rejection]) => {
            assert_eq!((rejection.item, rejection.reason), (Some(0), Reason::IdentifierInvalid));
            true
        }
        _ => panic!("{} readings, {} rejections", found.readings.len(), found.rejections.len()),
    }
}

#[test]
fn a_name_or_a_unit_of_128_bytes_is_read_and_a_longer_one_is_not() {
    for (bytes, expected) in [(127, false), (128, false), (129, true), (130, true)] {
        let long = "n".repeat(bytes);
        let count = |name: &str, units: &str, fields: &str| is_too_long(&metric(name, units, fields));
        assert_eq!(count(&long, "count", r#""qty":1"#), expected, "name of a metric");
        assert_eq!(count("m", &long, r#""qty":1"#), expected, "unit of a metric");
        assert_eq!(count("m", "count", &format!(r#""qty":1,"units":"{long}""#)), expected, "unit of an entry");
        assert_eq!(count("m", "count", &format!(r#""qty":1,"{long}":1"#)), expected, "name of a field");
        let symptom = normalized(&format!(r#""symptoms":[{{"name":"{long}",{DATE},"severity":"Mild"}}]"#));
        assert_eq!(is_too_long(&symptom), expected, "name of a symptom");
        let amount = workout(&format!(r#""extra":{{"qty":1,"units":"{long}"}}"#));
        assert_eq!(is_too_long(&amount), expected, "unit of a part");
    }
}

#[test]
fn other_fields_become_components_of_their_own_type() {
    let values =
        |fields: &str| -> Vec<Value> { parts(&workout(fields)).into_iter().map(|part| part.value.clone()).collect() };
    let text = |text: &str| Value::Text(text.to_owned());
    assert!(values(r#""extra":null"#).is_empty());
    assert!(values(r#""extra":" ""#).is_empty());
    assert!(values(r#""extra":"said""#) == [text("said")]);
    assert!(values(r#""extra":5"#) == [text("5")]);
    assert!(values(r#""extra":true"#) == [Value::Boolean(true)]);
    assert!(values(r#""extra":false"#) == [Value::Boolean(false)]);
    assert!(values(r#""extra":["a","b"]"#) == [text("a"), text("b")]);
    assert!(values(r#""extra":[1]"#) == [Value::Absent(Missing::Unsupported)]);
    // A text beside a unit is not an amount.
    let amounts = workout(r#""extra":{"low":1,"high":-2,"units":"m","note":"said","qty":3}"#);
    let told: Vec<(&str, &str)> = parts(&amounts)
        .into_iter()
        .map(|part| match &part.value {
            Value::Quantity(quantity) => (part.code.code.as_ref(), quantity.value.as_str()),
            Value::Text(text) => (part.code.code.as_ref(), text.as_str()),
            _ => panic!("not the expected kind of value"),
        })
        .collect();
    let expected = [
        ("workouts.extra.high", "-2"),
        ("workouts.extra.low", "1"),
        ("workouts.extra.note", "said"),
        ("workouts.extra", "3"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_list_of_100_texts_becomes_components_and_a_longer_one_does_not() {
    let list = |count: usize| format!(r#""extra":[{}]"#, vec![r#""a""#; count].join(","));
    assert_eq!(parts(&workout(&list(100))).len(), 100);
    assert_eq!(parts(&workout(&list(101))).len(), 1);
}

#[test]
fn an_entry_of_1000_parts_is_read_and_one_more_is_not() {
    let many = |count: usize| {
        let lists: Vec<String> =
            (0..count / 100).map(|list| format!(r#""extra{list}":[{}]"#, vec![r#""a""#; 100].join(","))).collect();
        lists.join(",")
    };
    assert_eq!(parts(&workout(&many(1_000))).len(), 1_000);
    for more in [r#""extra":"a""#, r#""extra":{"qty":1,"units":"m"}"#] {
        let found = workout(&format!("{},{more}", many(1_000).replace("extra", "a_extra")));
        assert_eq!(found.rejections.first().map(|rejection| rejection.reason), Some(Reason::TooLarge), "{more}");
    }
}

#[test]
fn a_workout_needs_a_kind_or_a_total() {
    let found = |fields: &str| normalized(&format!(r#""workouts":[{{{DATE}{fields}}}]"#));
    let total = |fields: &str| {
        let found = found(fields);
        let [reading] = found.readings.as_slice() else { panic!("{} readings", found.readings.len()) };
        assert!(reading.value == Value::Absent(Missing::Panel));
        let Value::Quantity(quantity) = &reading.components[0].value else { panic!("not a quantity") };
        (quantity.value.clone(), quantity.source_unit.clone(), reading.components[0].flags.clone())
    };
    // The app documents the unit of the duration, and no other unit.
    assert_eq!(total(r#","duration":60"#), ("1".to_owned(), None, vec![Flag::DefaultUnit]));
    let minutes = r#","duration":{"qty":2,"units":"min"}"#;
    assert_eq!(total(minutes), ("2".to_owned(), Some("min".to_owned()), Vec::new()));
    assert_eq!(found("").rejections[0].reason, Reason::ValueMissing);
}

#[test]
fn a_total_without_a_number_is_left_out() {
    for nothing in [r#"{"qty":null,"units":"kcal"}"#, r#"{"units":"kcal"}"#, "null"] {
        let found = workout(&format!(r#""activeEnergyBurned":{nothing},"duration":60"#));
        let names: Vec<&str> = found.readings[0].components.iter().map(|part| part.code.code.as_ref()).collect();
        assert!(names.contains(&"HKWorkout.duration") && !names.contains(&"HKWorkout.totalEnergyBurned"), "{nothing}");
    }
}

#[test]
fn the_heart_rate_of_an_electrocardiogram_has_the_unit_that_is_written() {
    let rate = |written: &str| {
        let found =
            normalized(&format!(r#""ecg":[{{{DATE},"classification":"Sinus Rhythm","averageHeartRate":{written}}}]"#));
        let is_rate = |part: &&Component| part.code.code == "8867-4";
        let part = found.readings.first()?.components.iter().find(is_rate)?;
        let Value::Quantity(quantity) = &part.value else { return None };
        Some((quantity.value.clone(), quantity.source_unit.clone(), part.flags.clone()))
    };
    assert_eq!(rate("70"), Some(("70".to_owned(), None, Vec::new())));
    assert_eq!(rate(r#"{"qty":70,"units":"bpm"}"#), Some(("70".to_owned(), Some("bpm".to_owned()), Vec::new())));
    assert_eq!(rate(r#"{"qty":70,"units":"Hz"}"#), None);
}
