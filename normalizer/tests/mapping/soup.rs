//! For any input, normalizing ends without a panic and accounts for every item.

use normalizer::{Normalized, Rejection};
use proptest::prelude::*;
use schemas::{
    format::{Format, RawTopic},
    raw::RecordKind,
    rejection::Reason,
};

use crate::record::{self, headers};

const GOLDEN: &[(RawTopic, Format, &str)] = &[
    (RawTopic::Medisante, Format::StandardJson, include_str!("../golden/medisante-blood-pressure.input.json")),
    (RawTopic::Medisante, Format::StandardJson, include_str!("../golden/medisante-ecg.input.json")),
    (RawTopic::HealthKit, Format::StandardJson, include_str!("../golden/healthkit-refused-among-good.input.json")),
    (RawTopic::HealthKit, Format::StandardJson, include_str!("../golden/healthkit-workout.input.json")),
    (RawTopic::HealthKit, Format::StandardJson, include_str!("../golden/healthkit-electrocardiogram.input.json")),
    (RawTopic::HealthKit, Format::HealthAutoExport, include_str!("../golden/health-auto-export-sleep.input.json")),
    (RawTopic::HealthKit, Format::HealthAutoExport, include_str!("../golden/health-auto-export-workouts.input.json")),
    (RawTopic::HealthKit, Format::HealthAutoExport, include_str!("../golden/health-auto-export-ecg.input.json")),
    (RawTopic::HealthKit, Format::HealthAutoExport, include_str!("../golden/health-auto-export-times.input.json")),
    (RawTopic::HealthKit, Format::HealthAutoExport, include_str!("../golden/health-auto-export-unknown.input.json")),
    (RawTopic::Medisante, Format::FhirJson, include_str!("../golden/fhir-values.input.json")),
    (RawTopic::Medisante, Format::FhirJson, include_str!("../golden/fhir-phd-bundle.input.json")),
    (RawTopic::Medisante, Format::FhirJson, include_str!("../golden/fhir-contained.input.json")),
];

const FORMATS: [(RawTopic, Format); 4] = [
    (RawTopic::Medisante, Format::StandardJson),
    (RawTopic::HealthKit, Format::StandardJson),
    (RawTopic::HealthKit, Format::HealthAutoExport),
    (RawTopic::Medisante, Format::FhirJson),
];

fn normalized(topic: RawTopic, format: Format, body: &[u8]) -> Normalized {
    normalized_at(topic, format, body, 0)
}

fn normalized_at(topic: RawTopic, format: Format, body: &[u8], offset: i64) -> Normalized {
    let mut headers = headers(RecordKind::Payload(format), "soup");
    headers.sample_type = Some("HeartRate".to_owned());
    record::normalized(topic, headers, body, offset)
}

fn accounted(found: &Normalized) {
    assert!(found.items() > 0, "the payload has no outcome");
    let mut items: Vec<i64> = found.readings.iter().map(|reading| i64::from(reading.provenance.item)).collect();
    let refused = found.rejections.iter().filter_map(|rejection| Some((rejection.item?, rejection.item_count)));
    items.extend(refused.flat_map(|(first, count)| first..first + count).map(i64::from));
    let count = items.len();
    items.sort_unstable();
    items.dedup();
    assert_eq!(items.len(), count, "an item has two outcomes");
    let has_bytes = |rejection: &Rejection| rejection.item.is_some() && rejection.item_count == 1;
    assert!(found.rejections.iter().all(|rejection| has_bytes(rejection) != rejection.bytes.is_empty()));
    let is_plain = |shape: &str| shape.len() < 800 && shape.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    assert!(found.unknown.len() <= 32 && found.unknown.iter().all(|unknown| is_plain(&unknown.shape)));
}

fn json() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("resourceType".to_owned()),
        Just("Observation".to_owned()),
        Just("Bundle".to_owned()),
        Just("entry".to_owned()),
        Just("resource".to_owned()),
        Just("code".to_owned()),
        Just("coding".to_owned()),
        Just("value".to_owned()),
        Just("valueQuantity".to_owned()),
        Just("status".to_owned()),
        Just("final".to_owned()),
        Just("component".to_owned()),
        Just("startDate".to_owned()),
        Just("contained".to_owned()),
        Just("device".to_owned()),
        Just("reference".to_owned()),
        Just("measurements".to_owned()),
        Just("documents".to_owned()),
        Just("pulse".to_owned()),
        Just("systolicBloodPressure".to_owned()),
        Just("data".to_owned()),
        Just("metrics".to_owned()),
        Just("name".to_owned()),
        Just("units".to_owned()),
        Just("sleep_analysis".to_owned()),
        Just("qty".to_owned()),
        Just("date".to_owned()),
        Just("workouts".to_owned()),
        Just("ecg".to_owned()),
        "[a-z#/:]{0,6}",
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,4})?(e-?[0-9]{1,3})?",
        word.clone().prop_map(|word| format!("\"{word}\"")),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let member = (word.clone(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|elements| format!("[{}]", elements.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

/// Any JSON, also as the measurements of a message, as the members of an export and as a workout of an export.
fn message() -> impl Strategy<Value = String> {
    prop_oneof![
        json(),
        json().prop_map(|json| format!("{{\"measurements\":{json}}}")),
        json().prop_map(|json| format!("{{\"data\":{json}}}")),
        json().prop_map(|json| format!("{{\"data\":{{\"workouts\":[{json}]}}}}")),
    ]
}

proptest! {
    #[test]
    fn a_retry_gives_the_same_reading_ids(body in message()) {
        for (topic, format) in FORMATS {
            let names = |offset| -> Vec<_> {
                let record = normalized_at(topic, format, body.as_bytes(), offset);
                record.readings.iter().map(|reading| (reading.reading_id, reading.content)).collect()
            };
            prop_assert_eq!(names(0), names(9));
        }
    }

    #[test]
    fn any_bytes_are_mapped_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for (topic, format) in FORMATS {
            let found = normalized(topic, format, &body);
            accounted(&found);
        }
    }

    #[test]
    fn any_json_is_mapped_or_refused(body in message()) {
        for (topic, format) in FORMATS {
            let found = normalized(topic, format, body.as_bytes());
            prop_assert!(found.rejections.iter().all(|rejection| rejection.reason != Reason::Malformed));
            accounted(&found);
        }
    }

    #[test]
    fn damaged_payloads_are_mapped_or_refused(
        case in 0..GOLDEN.len(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (topic, format, text) = GOLDEN[case];
        let mut body = text.as_bytes().to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        accounted(&normalized(topic, format, &body));
        body.truncate(at);
        accounted(&normalized(topic, format, &body));
    }

    #[test]
    fn a_bad_entry_of_an_export_does_not_affect_the_others(
        entries in prop::collection::vec(prop::option::of(json()), 1..20),
    ) {
        let entry = |entry: &Option<String>| entry.clone().unwrap_or_else(|| "{\"qty\":1}".to_owned());
        let body = entries.iter().map(entry).collect::<Vec<_>>().join(",");
        let body = format!("{{\"data\":{{\"metrics\":[{{\"name\":\"height\",\"units\":\"cm\",\"data\":[{body}]}}]}}}}");
        let found = normalized(RawTopic::HealthKit, Format::HealthAutoExport, body.as_bytes());
        prop_assert_eq!(found.items(), entries.len());
        prop_assert!(found.readings.len() >= entries.iter().filter(|entry| entry.is_none()).count());
    }

    #[test]
    fn a_bad_sample_does_not_affect_the_others(
        values in prop::collection::vec(prop::option::of(1..300_u32), 1..40),
    ) {
        let sample = |value: &Option<u32>| match value {
            Some(value) => format!("{{\"value\":{value}}}"),
            None => "{\"value\":[]}".to_owned(),
        };
        let body = format!("[{}]", values.iter().map(sample).collect::<Vec<_>>().join(","));
        let found = normalized(RawTopic::HealthKit, Format::StandardJson, body.as_bytes());
        prop_assert_eq!(found.readings.len(), values.iter().flatten().count());
        prop_assert_eq!(found.items(), values.len());
    }
}

#[test]
fn a_long_name_is_not_repeated_in_every_reading() {
    let name = "n".repeat(1 << 16);
    for metric in [
        format!("{{\"name\":\"{name}\",\"units\":\"m\",\"data\":[{{\"qty\":1}},{{\"qty\":2}}]}}"),
        format!("{{\"name\":\"height\",\"units\":\"{name}\",\"data\":[{{\"qty\":1}},{{\"qty\":2}}]}}"),
        format!("{{\"name\":\"height\",\"units\":\"m\",\"data\":[{{\"qty\":1,\"{name}\":2}}]}}"),
        format!("{{\"name\":\"height\",\"data\":[{{\"qty\":1,\"units\":\"{name}\"}}]}}"),
        format!(
            "{{\"name\":\"height\",\"units\":\"m\",\"data\":[{{\"qty\":1,\"x\":{{\"a\":1,\"b\":2,\"units\":\"{name}\"}}}}]}}"
        ),
    ] {
        let body = format!("{{\"data\":{{\"metrics\":[{metric}]}}}}");
        let found = normalized(RawTopic::HealthKit, Format::HealthAutoExport, body.as_bytes());
        assert_eq!((found.items(), found.rejections[0].reason), (1, Reason::IdentifierInvalid));
    }
}

#[test]
fn one_item_or_level_above_the_limit_is_refused() {
    let reason = |topic, format, body: String| {
        let found = normalized(topic, format, body.as_bytes());
        assert!(found.readings.is_empty());
        found.rejections[0].reason
    };
    let samples = |count: usize| format!("[{}{{}}]", "{},".repeat(count - 1));
    assert_eq!(reason(RawTopic::HealthKit, Format::StandardJson, samples(100_001)), Reason::TooLarge);
    assert_eq!(reason(RawTopic::HealthKit, Format::StandardJson, samples(100_000)), Reason::ValueMissing);
    let exported = |count: usize| format!("{{\"data\":{{\"workouts\":{}}}}}", samples(count));
    assert_eq!(reason(RawTopic::HealthKit, Format::HealthAutoExport, exported(100_001)), Reason::TooLarge);
    assert_eq!(reason(RawTopic::HealthKit, Format::HealthAutoExport, exported(100_000)), Reason::ValueMissing);
    let deep = |depth: usize| format!("{{\"data\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert_eq!(reason(RawTopic::HealthKit, Format::HealthAutoExport, deep(65)), Reason::TooLarge);
    assert_eq!(reason(RawTopic::HealthKit, Format::HealthAutoExport, deep(64)), Reason::UnexpectedShape);
    let entries = |count: usize| format!("{{\"resourceType\":\"Bundle\",\"entry\":{}}}", samples(count));
    assert_eq!(reason(RawTopic::Medisante, Format::FhirJson, entries(100_001)), Reason::TooLarge);
    assert_eq!(reason(RawTopic::Medisante, Format::FhirJson, entries(100_000)), Reason::Incomplete);
    // The entries of a nested Bundle are added to those of the outer Bundle.
    let inner = format!("{{\"resource\":{}}},{{\"resource\":{{}}}}", entries(100_000));
    let body = format!("{{\"resourceType\":\"Bundle\",\"entry\":[{{\"resource\":{{}}}},{inner}]}}");
    let found = normalized(RawTopic::Medisante, Format::FhirJson, body.as_bytes());
    let reasons: Vec<_> = found.rejections.iter().map(|refused| refused.reason).collect();
    assert_eq!(reasons, [Reason::UnexpectedShape, Reason::TooLarge, Reason::UnexpectedShape]);
    let nested = |depth: usize| {
        format!("{{\"resourceType\":\"Basic\",\"y\":[],\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
    };
    assert_eq!(reason(RawTopic::Medisante, Format::FhirJson, nested(65)), Reason::TooLarge);
    assert_eq!(reason(RawTopic::Medisante, Format::FhirJson, nested(64)), Reason::NotAReading);
    // Brackets inside a string do not count as nesting, even after an escaped quote or backslash.
    let text = format!("{{\"resourceType\":\"Basic\",\"x\":\"\\\\\",\"y\":\"\\\"{}\"}}", "[".repeat(65));
    assert_eq!(reason(RawTopic::Medisante, Format::FhirJson, text), Reason::NotAReading);
    let abyss = "[".repeat(1 << 20);
    assert_eq!(reason(RawTopic::Medisante, Format::FhirJson, abyss), Reason::TooLarge);
}

/// The ingress does not write such records, but somebody else may write to the topics.
#[test]
fn a_record_that_does_not_belong_on_its_topic_is_refused() {
    for (topic, kind) in [
        (RawTopic::Devices, RecordKind::Payload(Format::StandardJson)),
        (RawTopic::Medisante, RecordKind::Assign),
        (RawTopic::HealthKit, RecordKind::Unassign),
        (RawTopic::HealthKit, RecordKind::Payload(Format::StandardXml)),
        (RawTopic::Medisante, RecordKind::Payload(Format::HealthAutoExport)),
        (RawTopic::Medisante, RecordKind::Payload(Format::ExportXml)),
    ] {
        let found = record::normalized(topic, headers(kind, "soup"), b"{}", 0);
        let reasons: Vec<_> = found.rejections.iter().map(|refused| (refused.item, refused.reason)).collect();
        assert_eq!((found.items(), reasons), (1, vec![(None, Reason::BrokenRecord)]));
    }
}

/// The bytes of a rejection are what its sender must look at: the refused item and nothing else.
#[test]
fn a_refused_item_keeps_its_own_json() {
    let kept = |topic, format, body: &str| -> Vec<String> {
        let rejections = normalized(topic, format, body.as_bytes()).rejections;
        rejections.into_iter().map(|refused| String::from_utf8(refused.bytes).unwrap()).collect()
    };
    let message = r#"{"measurements":{"pulse":"x","ketone":1,"diastolicBloodPressure": {"value":"y"},
        "systolicBloodPressure":null,"documents":{"aPDF":"%"}}}"#;
    assert_eq!(
        kept(RawTopic::Medisante, Format::StandardJson, message),
        [r#""x""#, "1", r#"{"systolicBloodPressure":null,"diastolicBloodPressure":{"value":"y"}}"#, r#""%""#]
    );
    let bundle = r#"{"resourceType":"Bundle","entry":[ {"resource": {"resourceType":"Basic", "id":"b"}} , 7,
        {"resource":{"resourceType":"Observation"}}]}"#;
    assert_eq!(
        kept(RawTopic::Medisante, Format::FhirJson, bundle),
        [r#"{"resourceType":"Basic", "id":"b"}"#, "7", r#"{"resourceType":"Observation"}"#]
    );
}

#[test]
fn an_observation_of_too_many_objects_is_refused() {
    let found = |objects: usize| {
        let codings = vec!["{}"; objects - 2].join(",");
        let body = format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x","coding":[{codings}]}},"valueString":"y"}}"#
        );
        normalized(RawTopic::Medisante, Format::FhirJson, body.as_bytes())
    };
    assert_eq!(found(1_000).readings.len(), 1);
    assert_eq!(found(1_001).rejections[0].reason, Reason::UnexpectedShape);
}
