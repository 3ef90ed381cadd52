//! One event of every schema version that was ever used. This release must still be able to read all of them.
//!
//! `history/<record>-<fingerprint>.avsc` is the schema, `.bin` an event written with it. Files are only added, never changed:
//! `UPDATE_HISTORY=1 cargo test -p schemas` adds the files of the current version when they are missing.

use std::{fs, path::PathBuf};

use schemas::{
    codec::{Event, Fingerprint, SchemaCache, encode},
    event::{Assignment, Command, DeviceId, Document, Outcome, PatientId, Reading, SourceName, Unknown, UnknownKind},
    format::{Format, Provider, RawTopic},
};
use uuid::Uuid;

use super::sample::Dice;

/// The version of the outcome before the field `unknown`.
const FIRST_OUTCOME: &str = "outcome-e61e0a0a93dfb02c";

/// The versions of the device command before the field `bound_to`.
const FIRST_ASSIGNMENTS: [&str; 2] = ["assignment-04881075b1623ced", "assignment-d60d4d6fa503e3db"];

pub(crate) fn assignment() -> Assignment {
    Assignment {
        device_key: Uuid::from_u128(17),
        command: Command::Assign,
        provider: Some(Provider::HealthKit),
        device_id: DeviceId::parse("watch-1").ok(),
        device_type: Some("Wearable".to_owned()),
        name: None,
        serial_number: Some("S1".to_owned()),
        features: Some("[]".to_owned()),
        patient: PatientId::parse("p-1").ok(),
        effective_from: Some(-1),
        source: SourceName::parse("operator").ok().unwrap(),
        subject: None,
        bound_to: vec![Provider::HealthKit],
        received_at: 1_700_000_000_000_000,
        topic_epoch: 1,
        partition: 3,
        offset: 99,
        mapping_version: 1,
        key_id: None,
    }
}

pub(crate) fn document() -> Document {
    Document {
        sha256: [9; 32],
        content_type: "application/pdf".to_owned(),
        content: vec![0, 1, 255],
        provider: Provider::Medisante,
        source: SourceName::parse("portal").ok().unwrap(),
        received_at: 5,
        key_id: Some("k".to_owned()),
    }
}

pub(crate) fn outcome() -> Outcome {
    Outcome {
        topic: RawTopic::Devices,
        topic_epoch: 1,
        partition: 0,
        offset: 7,
        items: 3,
        readings: 2,
        commands: 0,
        rejections: 1,
        mapping_version: 1,
        received_at: 5,
        unknown: vec![Unknown {
            format: Format::HealthAutoExport,
            kind: UnknownKind::Metric,
            shape: "data.metrics.new_thing".to_owned(),
        }],
        catalogue_revision: 0,
        replay: None,
    }
}

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/history")
}

fn remember<E: Event>(event: &E) {
    let stem = format!("{}-{}", E::NAME.rsplit('.').next().unwrap().to_lowercase(), E::FINGERPRINT);
    let (schema, bytes) = (folder().join(format!("{stem}.avsc")), folder().join(format!("{stem}.bin")));
    if std::env::var_os("UPDATE_HISTORY").is_some() && !bytes.exists() {
        fs::write(schema, E::SCHEMA).unwrap();
        fs::write(bytes, encode(event)).unwrap();
    } else {
        assert!(bytes.exists(), "{stem}.bin is missing: run once with UPDATE_HISTORY=1 and commit the new files");
    }
}

#[test]
fn the_current_schemas_are_in_the_history() {
    remember(&Dice(11).reading());
    remember(&assignment());
    remember(&document());
    remember(&outcome());
}

#[test]
fn every_schema_in_the_history_is_still_read() {
    let mut read = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let bytes = entry.unwrap().path();
        if bytes.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let schema = fs::read_to_string(bytes.with_extension("avsc")).unwrap();
        let stem = bytes.file_stem().unwrap().to_str().unwrap().to_owned();
        let (record, hexadecimal) = stem.split_once('-').unwrap();
        let mut fingerprint = Fingerprint([0; 8]);
        for (place, at) in fingerprint.0.iter_mut().zip((0..16).step_by(2)) {
            *place = u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
        }
        let message = fs::read(&bytes).unwrap();
        let mut cache = SchemaCache::new().unwrap();
        cache.add(fingerprint, &schema).unwrap();
        let readable = match record {
            "reading" => cache.decode::<Reading>(&message).is_ok(),
            // The first two versions lack `bound_to`; in the first one `effective_from` was not optional.
            "assignment" => cache.decode::<Assignment>(&message).is_ok_and(|read| {
                let is_first = FIRST_ASSIGNMENTS.contains(&stem.as_str());
                let bound_to = if is_first { Vec::new() } else { assignment().bound_to };
                read == Assignment { bound_to, ..assignment() }
            }),
            "document" => cache.decode::<Document>(&message).is_ok(),
            // The field that the first version lacks is empty; the rest is the same.
            "outcome" => cache.decode::<Outcome>(&message).is_ok_and(|read| {
                let unknown = if stem == FIRST_OUTCOME { Vec::new() } else { outcome().unknown };
                read == Outcome { unknown, ..outcome() }
            }),
            other => panic!("{other} is not a record of this project"),
        };
        assert!(readable, "{stem} is no longer readable");
        read += 1;
    }
    assert!(read >= 5);
}
