//! Edge cases of HealthKit's samples: workouts without an activity, totals, and times with and without an offset.

use normalizer::Normalized;
use schemas::{
    event::{Component, Flag, Missing, Value},
    format::{Defaults, Format, RawTopic},
    raw::{Headers, RecordKind},
    rejection::Reason,
};

use crate::record::{self, headers};

fn normalized(format: Format, body: &str) -> Normalized {
    let defaults = Some(Defaults::ReactNativeHealth);
    let headers = Headers { defaults, ..headers(RecordKind::Payload(format), "app") };
    record::normalized(RawTopic::HealthKit, headers, body.as_bytes(), 0)
}

fn workout(fields: &str) -> Normalized {
    normalized(Format::StandardJson, &format!(r#"[{{"type":"Workout","start":"2026-03-01T08:00:00Z"{fields}}}]"#))
}

fn total(found: &Normalized) -> (&str, &str, &[Flag], Option<&str>) {
    let component: &Component = &found.readings[0].components[0];
    let Value::Quantity(quantity) = &component.value else { panic!("{}", component.code.code) };
    (&component.code.code, &quantity.value, &component.flags, quantity.source_unit.as_deref())
}

#[test]
fn a_workout_needs_a_kind_or_a_total() {
    let only_a_total = workout(r#","duration":60"#);
    assert!(only_a_total.readings[0].value == Value::Absent(Missing::Panel));
    assert_eq!(total(&only_a_total), ("HKWorkout.duration", "1", [Flag::DefaultUnit].as_slice(), None));
    let only_a_kind = workout(r#","activityName":"Running""#);
    assert!(matches!(&only_a_kind.readings[0].value, Value::Coded(_)));
    assert!(only_a_kind.readings[0].components.is_empty());
    assert_eq!(workout("").rejections[0].reason, Reason::ValueMissing);
}

#[test]
fn a_total_of_many_samples_is_not_checked_against_the_range_of_one() {
    // 10,000 miles are more than one distance sample can be, and a mile is a whole number of millimetres.
    let far = workout(r#","distance":10000"#);
    assert_eq!(total(&far), ("HKWorkout.totalDistance", "16093440", [Flag::DefaultUnit].as_slice(), None));
}

#[test]
fn an_electrocardiogram_without_voltages_has_only_its_findings() {
    let found = |voltages: &str| {
        let body = format!(
            r#"[{{"type":"Electrocardiogram","startDate":"2026-03-01T08:00:00Z","classification":"SinusRhythm",
                "samplingFrequency":512,"voltageMeasurements":{voltages}}}]"#
        );
        normalized(Format::StandardJson, &body).readings[0].value.clone()
    };
    assert!(found("[]") == Value::Absent(Missing::Panel));
    assert!(matches!(found("[[0,0.001]]"), Value::Waveform(_)));
}

#[test]
fn a_correlation_of_1000_parts_is_read_and_one_more_is_not() {
    let found = |parts: usize| {
        let objects = vec![r#"{"type":"Protein","value":1,"unit":"g"}"#; parts].join(",");
        let body = format!(r#"[{{"type":"Food","startDate":"2026-03-01T08:00:00Z","objects":[{objects}]}}]"#);
        let found = normalized(Format::StandardJson, &body);
        (found.readings.first().map(|reading| reading.components.len()), found.rejections.first().map(|r| r.reason))
    };
    assert_eq!(found(1_000), (Some(1_000), None));
    for more in [1_001, 1_002] {
        assert_eq!(found(more), (None, Some(Reason::TooLarge)));
    }
}

#[test]
fn a_large_number_is_not_a_category_value() {
    let outcome = |value: &str| {
        let body = format!(r#"[{{"type":"SleepAnalysis","startDate":"2026-03-01T08:00:00Z","value":{value}}}]"#);
        normalized(Format::StandardJson, &body).rejections.first().map(|rejection| rejection.reason)
    };
    for value in ["4", "99", r#""99""#, r#""Dozing""#, r#""Stage 100""#] {
        assert_eq!(outcome(value), None, "{value}");
    }
    for value in ["100", r#""480""#, "-1", "0.5"] {
        assert_eq!(outcome(value), Some(Reason::ValueInvalid), "{value}");
    }
}

#[test]
fn a_sum_has_a_component_for_each_source() {
    let found = |metadata: &str| {
        let body = format!(
            r#"[{{"type":"StepCount","value":9,"startDate":"2026-03-01T00:00:00Z","endDate":"2026-03-02T00:00:00Z",
                "metadata":{metadata}}}]"#
        );
        normalized(Format::StandardJson, &body)
    };
    let shares = |metadata: &str| {
        let found = found(metadata);
        let part = |part: &Component| match &part.value {
            Value::Quantity(quantity) => format!("{} {} {}", part.code.code, quantity.value, quantity.unit),
            _ => panic!("not the expected kind of value"),
        };
        found.readings[0].components.iter().map(part).collect::<Vec<_>>()
    };
    let two = r#"[{"sourceId":"a","sourceName":"A","quantity":5},{"sourceName":"B","quantity":4}]"#;
    assert_eq!(shares(two), ["a 5 {steps}", "B 4 {steps}"]);
    for none in [r#"[{"sourceId":"a"},{"quantity":1},7,null]"#, r#"{"sourceId":"a","quantity":5}"#, "[]", "null"] {
        assert!(shares(none).is_empty(), "{none}");
    }
    let of = |metadata: &str| found(metadata).readings.remove(0);
    let (before, after) = (of(two), of(&two.replace('5', "6")));
    assert!(before.reading_id == after.reading_id && before.content != after.content);
    let many = |count: usize| format!("[{}]", vec![r#"{"sourceId":"a","quantity":5}"#; count].join(","));
    assert_eq!(found(&many(1_000)).readings[0].components.len(), 1_000);
    for more in [1_001, 1_002] {
        assert_eq!(found(&many(more)).rejections[0].reason, Reason::TooLarge);
    }
}

#[test]
fn one_time_without_an_offset_sets_the_flag() {
    let flagged = |start: &str, end: &str| {
        let body = format!(r#"[{{"type":"HeartRate","value":70,"startDate":"{start}","endDate":"{end}"}}]"#);
        normalized(Format::StandardJson, &body).readings[0].flags.contains(&Flag::LocalTime)
    };
    assert!(flagged("2026-03-01T08:00:00", "2026-03-01T08:01:00Z"));
    assert!(flagged("2026-03-01T08:00:00Z", "2026-03-01T08:01:00"));
    assert!(!flagged("2026-03-01T08:00:00Z", "2026-03-01T08:01:00Z"));
}

#[test]
fn an_end_may_equal_the_start_but_not_precede_it() {
    let outcome = |end: &str| {
        let body = format!(
            r#"[{{"type":"HeartRate","value":70,"startDate":"2026-03-01T08:00:00.000001Z","endDate":"{end}"}}]"#
        );
        normalized(Format::StandardJson, &body).rejections.first().map(|rejection| rejection.reason)
    };
    assert_eq!(outcome("2026-03-01T08:00:00.000001Z"), None);
    assert_eq!(outcome("2026-03-01T08:00:00Z"), Some(Reason::TimeInvalid));
}

#[test]
fn a_number_for_a_category_metric_keeps_its_unit() {
    let body = r#"{"resourceType":"Observation","id":"o","status":"final","valueQuantity":{"value":5,"unit":"mg"},
        "code":{"coding":[{"system":"http://developer.apple.com/documentation/healthkit",
                           "code":"HKCategoryTypeIdentifierSleepAnalysis"}]}}"#;
    let found = normalized(Format::FhirJson, body);
    let reading = &found.readings[0];
    let Value::Quantity(quantity) = &reading.value else { panic!("not a quantity") };
    assert_eq!((quantity.value.as_str(), quantity.unit.as_ref()), ("5", "mg"));
    assert_eq!(reading.flags, [Flag::UnknownUnit]);
}
