//! The examples in the documentation: each becomes the readings in `tests/examples`, and nothing in it is refused, unknown or
//! flagged. `UPDATE_GOLDEN=1` rewrites the files with the readings.

use std::{fmt::Write as _, fs, path::Path};

use normalizer::{Normalized, json_lines};
use schemas::{
    event::Flag,
    example::{ASSIGN, Example, PAYLOADS, UNASSIGN},
    format::{Provider, RawTopic},
    raw::{Headers, RecordKind},
};

use crate::record::{headers, normalized};

/// The flags that an example may have: the unit of a workout's duration is documented and never written.
const EXPECTED: [Flag; 1] = [Flag::DefaultUnit];

fn of(example: &Example) -> Normalized {
    let mut headers = headers(RecordKind::Payload(example.format), "example");
    for (name, value) in example.query {
        match *name {
            "deviceId" => headers.device_id = Some((*value).to_owned()),
            other => panic!("{}: the test does not support the parameter {other}", example.file),
        }
    }
    normalized(example.provider.raw_topic(example.format), headers, example.text.as_bytes(), 0)
}

fn assert_as_written(file: &str, found: &Normalized) {
    assert!(found.rejections.is_empty(), "{file}: refused");
    let unknown: Vec<&str> = found.unknown.iter().map(|unknown| unknown.shape.as_str()).collect();
    assert!(unknown.is_empty(), "{file}: unknown {unknown:?}");
    let flags = found.readings.iter().flat_map(|reading| {
        reading.flags.iter().chain(reading.components.iter().flat_map(|component| &component.flags))
    });
    assert!(flags.into_iter().all(|flag| EXPECTED.contains(flag)), "{file}: flagged");
    let text = json_lines(found).fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").unwrap();
        text
    });
    let name = file.split('.').next().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples").join(format!("{name}.events.json"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{file}: the events differ from the file");
}

#[test]
fn each_example_payload_becomes_its_readings() {
    for example in &PAYLOADS {
        let found = of(example);
        assert!(!found.readings.is_empty(), "{}: no reading", example.file);
        assert_as_written(example.file, &found);
    }
}

#[test]
fn each_example_command_becomes_its_event() {
    let device_id = Some("b8a7f5de-9f6b-5c3c-8f0e-2a1d4c3b5e6f".to_owned());
    for (file, kind, body) in
        [("devices-assign.json", RecordKind::Assign, ASSIGN), ("devices-unassign.json", RecordKind::Unassign, UNASSIGN)]
    {
        let headers = Headers { device_id: device_id.clone(), ..headers(kind, "example") };
        let found = normalized(RawTopic::Devices, headers, body.as_bytes(), 0);
        assert_eq!(found.commands.len(), 1, "{file}");
        assert_as_written(file, &found);
    }
}

#[test]
fn every_format_of_a_provider_has_one_example() {
    let have: Vec<_> = PAYLOADS.iter().map(|example| (example.provider, example.format)).collect();
    let all = Provider::ALL.iter().flat_map(|provider| provider.formats().iter().map(|format| (*provider, *format)));
    assert!(all.into_iter().all(|each| have.iter().filter(|one| **one == each).count() == 1));
    assert_eq!(have.len(), Provider::ALL.iter().map(|provider| provider.formats().len()).sum::<usize>());
}
