//! Golden pairs: `<case>.input.json` or `<case>.input.xml`, and `<case>.events.json` with one JSON object a line as
//! `device-manager normalize` prints it. The first word of a case names the mapping. `<case>.request.json` contains the
//! parameters of the request, if there are any. `<case>-xml.input.xml` has the same content as `<case>.input.json`.
//! `UPDATE_GOLDEN=1` rewrites the events; after the first release `MAPPING_VERSION` must then be raised.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use normalizer::{MAPPING_VERSION, Normalized, json_lines, normalize};
use schemas::{
    event::{Flag, PatientId, Value},
    format::{Defaults, Format, RawTopic},
    raw::{Headers, RawRecord, RecordKind},
};
use sha2::{Digest, Sha256};

use crate::{
    record::{RECEIVED_AT, headers},
    xml::assert_same,
};

/// The mapping version, and the SHA-256 over all cases and the events that it produces. Before the first release the version
/// stays 1; after it, a different hash requires a new version.
const PINNED: (i32, &str) = (1, "f685a00720ba963f30bc4ada40e7870aaf3345c62c3372a14774c121670cc58d");

/// The parameters of a request, which are the keys that a `.request.json` may have.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    r#type: Option<String>,
    unit: Option<String>,
    device_id: Option<String>,
    defaults: Option<String>,
    subject: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn cases(suffix: &str) -> BTreeSet<String> {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect()
}

/// The cases with an input in JSON or XML.
fn inputs() -> BTreeSet<String> {
    let (json, xml) = (cases(".input.json"), cases(".input.xml"));
    assert!(json.is_disjoint(&xml), "a case has two inputs");
    &json | &xml
}

/// Returns the body of a case, and whether it is XML.
fn input(case: &str) -> (Vec<u8>, bool) {
    let xml = folder().join(format!("{case}.input.xml"));
    let is_xml = xml.exists();
    (fs::read(if is_xml { xml } else { folder().join(format!("{case}.input.json")) }).unwrap(), is_xml)
}

fn kind(case: &str, is_xml: bool) -> (RawTopic, RecordKind) {
    match (case.split('-').next().unwrap(), is_xml) {
        ("medisante", false) => (RawTopic::Medisante, RecordKind::Payload(Format::StandardJson)),
        ("medisante", true) => (RawTopic::Medisante, RecordKind::Payload(Format::StandardXml)),
        ("healthkit", false) => (RawTopic::HealthKit, RecordKind::Payload(Format::StandardJson)),
        ("health", false) => (RawTopic::HealthKit, RecordKind::Payload(Format::HealthAutoExport)),
        ("export", true) => (RawTopic::Uploads, RecordKind::Payload(Format::ExportXml)),
        ("fhir", false) => (RawTopic::Medisante, RecordKind::Payload(Format::FhirJson)),
        ("fhir", true) => (RawTopic::Medisante, RecordKind::Payload(Format::FhirXml)),
        ("assign", false) => (RawTopic::Devices, RecordKind::Assign),
        ("unassign", false) => (RawTopic::Devices, RecordKind::Unassign),
        (other, _) => panic!("no mapping has the name {other}"),
    }
}

fn events(case: &str) -> String {
    let normalized = outcome(case);
    json_lines(&normalized).fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").unwrap();
        text
    })
}

fn outcome(case: &str) -> Normalized {
    let (body, is_xml) = input(case);
    let request: Request = fs::read(folder().join(format!("{case}.request.json")))
        .map_or_else(|_| Request::default(), |text| serde_json::from_slice(&text).unwrap());
    let (topic, kind) = kind(case, is_xml);
    let headers = Headers {
        subject: request.subject.map(|subject| PatientId::parse(&subject).unwrap()),
        sample_type: request.r#type,
        unit: request.unit,
        device_id: request.device_id,
        defaults: request.defaults.map(|word| Defaults::parse(&word).unwrap()),
        ..headers(kind, "golden")
    };
    let record =
        RawRecord { topic, topic_epoch: 1, partition: 3, offset: 42, received_at: RECEIVED_AT, headers, body: &body };
    let normalized = normalize(&record);
    assert_documents(case, &normalized);
    assert_flags(case, &normalized);
    assert_eq!(normalized.items(), json_lines(&normalized).count(), "{case}: there is not one line for each item");
    normalized
}

/// Asserts that no list has a flag twice, and that a reading without a value has no flag that is about a value: each component
/// carries its own.
fn assert_flags(case: &str, normalized: &Normalized) {
    for reading in &normalized.readings {
        for flags in reading.components.iter().map(|part| &part.flags).chain([&reading.flags]) {
            let is_twice = |flag| flags.iter().filter(|other| *other == flag).count() > 1;
            assert!(!flags.iter().any(is_twice), "{case}: a flag is given twice");
        }
        let is_of_value = |flag: &Flag| match flag {
            Flag::Rounded | Flag::OutOfRange | Flag::SenderOutOfRange | Flag::DefaultUnit | Flag::UnknownUnit => true,
            // A code may be unknown without a value.
            Flag::Unknown | Flag::UnknownMetric | Flag::LocalTime | Flag::MeasuredInFuture => false,
        };
        let is_without = matches!(reading.value, Value::Absent(_));
        assert!(!is_without || !reading.flags.iter().any(is_of_value), "{case}: a flag is about no value");
    }
}

/// Asserts that the documents are exactly those that the readings cite, each under its hash.
fn assert_documents(case: &str, normalized: &Normalized) {
    let cited = normalized.readings.iter().filter_map(|reading| match &reading.value {
        Value::Document(cited) => Some((cited.sha256, cited.bytes, cited.content_type.as_str())),
        _ => None,
    });
    let kept = normalized.documents.iter().map(|kept| {
        let bytes = i64::try_from(kept.content.len()).unwrap();
        (Sha256::digest(&kept.content).into(), bytes, kept.content_type.as_str())
    });
    assert!(cited.eq(kept), "{case}: the documents are not those that the readings cite");
    assert!(normalized.documents.iter().all(|kept| Sha256::digest(&kept.content).as_slice() == kept.sha256));
}

#[test]
fn every_case_has_an_input_and_an_output() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return;
    }
    let (inputs, events) = (inputs(), cases(".events.json"));
    assert!(inputs.len() > 20, "the folder with the golden pairs was not found");
    assert_eq!(inputs, events);
    assert!(cases(".request.json").is_subset(&inputs), "a request has no input");
}

#[test]
fn a_changed_output_requires_a_new_mapping_version() {
    let mut hash = Sha256::new();
    for case in inputs() {
        let events = events(&case);
        hash.update(format!("{case}:{}:{events}", events.len()));
    }
    let found = hash.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    assert_eq!(
        (MAPPING_VERSION, found.as_str()),
        PINNED,
        "bump MAPPING_VERSION and update the pin; new cases change the pin alone"
    );
}

#[test]
fn the_events_of_each_case_match_its_file() {
    // With a faulty catalogue every event would be rewritten.
    assert!(catalogue::check().is_ok(), "the catalogue is faulty: `cargo test --workspace --test unit` says why");
    let mut different = Vec::new();
    for case in inputs() {
        let path = folder().join(format!("{case}.events.json"));
        let found = events(&case);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &found).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != found {
            different.push(case);
        }
    }
    assert!(
        different.is_empty(),
        "other events than written: {different:?}; if that is meant, raise MAPPING_VERSION, run UPDATE_GOLDEN=1 and read the diff"
    );
}

#[test]
fn xml_and_json_with_the_same_content_give_the_same_events() {
    let twins: Vec<(String, String)> =
        cases(".input.xml").into_iter().filter_map(|xml| Some((xml.strip_suffix("-xml")?.to_owned(), xml))).collect();
    assert!(twins.len() > 20, "the folder with the golden pairs was not found");
    for (json, xml) in twins {
        assert_same(&xml, &outcome(&json), &outcome(&xml));
    }
}
