//! Golden pairs: `<case>.input.json` beside `<case>.events.json`, one JSON object a line as `device-manager normalize`
//! prints it. The first word of a case names the mapping; `<case>.request.json` has the request's parameters where there
//! are any. `UPDATE_GOLDEN=1` writes the events anew: then raise `MAPPING_VERSION`.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use normalizer::{MAPPING_VERSION, Normalized, json_lines, normalize};
use schemas::{
    event::{PatientId, Value},
    format::{Format, RawTopic},
    raw::{Headers, Kind, RawRecord},
};
use sha2::{Digest, Sha256};

use crate::record::{RECEIVED_AT, headers};

/// The mapping version, and the SHA-256 over all cases and their events that it writes. Before the first release the
/// version stays 1; after it, another hash needs another version.
const PINNED: (i32, &str) = (1, "c8a6114b75ce4548b3d87b86f5626dd99bf5f54c7ce992c5316352a08c6daaac");

/// The parameters of a request; also the keys that a `.request.json` may have.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    r#type: Option<String>,
    unit: Option<String>,
    device_id: Option<String>,
    subject: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn cases(suffix: &str) -> BTreeSet<String> {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect()
}

fn kind(case: &str) -> (RawTopic, Kind) {
    match case.split('-').next().unwrap() {
        "medisante" => (RawTopic::Medisante, Kind::Payload(Format::StandardJson)),
        "healthkit" => (RawTopic::HealthKit, Kind::Payload(Format::StandardJson)),
        "health" => (RawTopic::HealthKit, Kind::Payload(Format::HealthAutoExport)),
        "fhir" => (RawTopic::Medisante, Kind::Payload(Format::FhirJson)),
        "assign" => (RawTopic::Devices, Kind::Assign),
        "unassign" => (RawTopic::Devices, Kind::Unassign),
        other => panic!("no mapping is named {other}"),
    }
}

fn events(case: &str) -> String {
    let body = fs::read(folder().join(format!("{case}.input.json"))).unwrap();
    let request: Request = fs::read(folder().join(format!("{case}.request.json")))
        .map_or_else(|_| Request::default(), |text| serde_json::from_slice(&text).unwrap());
    let (topic, kind) = kind(case);
    let headers = Headers {
        subject: request.subject.map(|subject| PatientId::parse(&subject).unwrap()),
        sample_type: request.r#type,
        unit: request.unit,
        device_id: request.device_id,
        ..headers(kind, "golden")
    };
    let record =
        RawRecord { topic, topic_epoch: 1, partition: 3, offset: 42, received_at: RECEIVED_AT, headers, body: &body };
    let normalized = normalize(&record);
    assert_documents(case, &normalized);
    json_lines(&normalized).fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").unwrap();
        text
    })
}

/// Every document that a reading cites is there under its hash, and no other.
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
fn every_case_has_both_halves() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return;
    }
    let (inputs, events) = (cases(".input.json"), cases(".events.json"));
    assert!(inputs.len() > 20, "the golden folder is not where it should be");
    assert_eq!(inputs, events);
    assert!(cases(".request.json").is_subset(&inputs), "a request without an input");
}

#[test]
fn a_changed_output_raises_the_mapping_version() {
    let mut hash = Sha256::new();
    for case in cases(".input.json") {
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
fn events_are_as_written() {
    let mut different = Vec::new();
    for case in cases(".input.json") {
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
