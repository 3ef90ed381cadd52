//! A catalogue file, and commands that use it.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{assert_failed, device_manager};

const FILE: &str = r#"revision = 7
[[metric]]
key = "blood_lactate"
display = "Blood lactate"
spellings.medisante = ["lactate"]
spellings.healthkit = ["Lactate"]
spellings.health_auto_export = ["blood_lactate"]
pair = [{ system = "loinc", code = "32693-4", display = "Lactate [Moles/volume] in Blood", unit = "mmol/L", range = ["0", "50"], why = "x" }]
"#;

fn with_file() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("catalogue.toml"), FILE).unwrap();
    directory
}

#[test]
fn a_check_shows_what_a_file_adds_or_why_it_cannot_be_used() {
    let directory = with_file();
    let check = |arguments: &[&str]| {
        device_manager(&[&["catalogue", "check"], arguments].concat(), directory.path()).output().unwrap()
    };
    let output = check(&["catalogue.toml"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("valid: revision 7, SHA-256 ") && output.status.success(), "{said}");
    assert_eq!(lines[1], "it adds to the built-in catalogue:");
    assert_eq!(lines[2], "  metric blood_lactate: a new metric, Blood lactate");
    assert_eq!(lines.len(), 7, "{said}");

    let output = check(&["--json", "catalogue.toml"]);
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checked["revision"], 7);
    assert!(lines[0].ends_with(checked["sha256"].as_str().unwrap()));
    let spelling =
        json!({ "adds": "spelling", "metric": "blood_lactate", "source": "medisante", "spelling": "lactate" });
    assert!(checked["additions"].as_array().unwrap().contains(&spelling), "{checked}");

    fs::write(directory.path().join("nothing.toml"), "revision = 8").unwrap();
    let said = String::from_utf8(check(&["nothing.toml"]).stdout).unwrap();
    assert_eq!(said.lines().nth(1), Some("it adds nothing to the built-in catalogue"));

    let wrong = FILE.replace("\"lactate\"", "\"pulse\"");
    fs::write(directory.path().join("wrong.toml"), wrong).unwrap();
    let cause =
        "wrong.toml: line 2, metric blood_lactate: 'pulse' of medisante means the built-in metric heart_rate already";
    assert_failed(check(&["wrong.toml"]), 2, cause);
    fs::write(directory.path().join("binary.toml"), [0xff]).unwrap();
    assert_failed(check(&["binary.toml"]), 2, "binary.toml: stream did not contain valid UTF-8");
    fs::write(directory.path().join("large.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    assert_failed(check(&["large.toml"]), 2, "large.toml: the file is larger than 1 MiB");
    assert_failed(check(&["none.toml"]), 2, "none.toml: No such file");
    assert!(Command::new("mkfifo").arg(directory.path().join("pipe")).status().unwrap().success());
    assert_failed(check(&["pipe"]), 2, "pipe: this is not a file, but a folder, a pipe or a device");
    assert_failed(check(&["."]), 2, ".: this is not a file");
}

#[test]
fn the_metrics_are_those_of_the_file_too() {
    let directory = with_file();
    let metrics =
        |arguments: &[&str]| device_manager(&[&["metrics"], arguments].concat(), directory.path()).output().unwrap();
    assert_failed(metrics(&["lactate"]), 1, "no metric has the key");
    let found = metrics(&["lactate", "heart_rate", "--catalogue-file", "catalogue.toml"]);
    let said = String::from_utf8(found.stdout).unwrap();
    assert!(said.contains("loinc 32693-4") && said.contains("loinc 8867-4"), "{said}");
}

/// In each provider's own formats: the reading gets the code and the unit of the file, and keeps its id.
#[test]
fn a_file_maps_what_was_unknown_and_changes_no_id() {
    let directory = with_file();
    let measured = |with_id: bool| {
        let metadata = if with_id { json!({ "correlationId": "c-1" }) } else { json!({}) };
        json!({
            "metadata": metadata, "device": { "id": "METER-1" },
            "measurements": {
                "timestamp": "2026-02-01T07:30:00Z", "lactate": { "value": 4.20, "unit": "mmol/L" },
                "glucose": { "value": 5.5, "unit": "mmol/L" },
            },
        })
    };
    let sample = |id: Value| {
        json!([{ "id": id, "type": "Lactate", "value": 4.2, "unit": "mmol/L", "startDate": "2026-02-01T07:30:00Z",
                 "metadata": [{ "sourceId": "app", "quantity": 4.2 }] }])
    };
    let export = json!({ "data": { "metrics": [
        { "name": "blood_lactate", "units": "mmol/L", "data": [{ "date": "2026-02-01 07:30:00 +0000", "qty": 4.2 }] },
    ] } });
    for (provider, format, payload) in [
        ("medisante", "standard-json", measured(true)),
        ("medisante", "standard-json", measured(false)),
        ("healthkit", "standard-json", sample(json!("00000000-0000-4000-8000-000000000001"))),
        ("healthkit", "standard-json", sample(Value::Null)),
        ("healthkit", "health-auto-export", export),
    ] {
        fs::write(directory.path().join("payload.json"), payload.to_string()).unwrap();
        let [before, after] = [&[][..], &["--catalogue-file", "catalogue.toml"]]
            .map(|more| readings(directory.path(), provider, format, more));
        let case = format!("{provider} {format} {payload}");
        assert_eq!(before.len(), after.len(), "{case}");
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before["reading_id"], after["reading_id"], "{case}");
            assert_eq!(before["provenance"]["catalogue_revision"], 0, "{case}");
            assert_eq!(after["provenance"]["catalogue_revision"], 7, "{case}");
            let is_lactate = !before["flags"].as_array().unwrap().is_empty();
            if is_lactate {
                assert_eq!(before["flags"], json!(["unknown-metric"]), "{case}");
                assert_ne!(before["code"], after["code"], "{case}");
                assert_eq!(after["flags"], json!([]), "{case}");
                assert_eq!(after["code"]["code"], "32693-4", "{case}");
                assert_eq!(after["value"]["quantity"]["unit"], "mmol/L", "{case}");
            } else {
                assert_eq!(before["code"], after["code"], "{case}");
                assert_eq!(before["value"], after["value"], "{case}");
            }
        }
        assert!(before.iter().any(|reading| reading["flags"] == json!(["unknown-metric"])), "{case}");
    }
}

/// The readings that `normalize` prints.
fn readings(directory: &Path, provider: &str, format: &str, more: &[&str]) -> Vec<Value> {
    let arguments = ["normalize", "--provider", provider, "--format", format, "payload.json"];
    let output = device_manager(&[&arguments, more].concat(), directory).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let reading = |line: &str| serde_json::from_str::<Value>(line).unwrap().get_mut("reading").map(Value::take);
    let readings: Option<Vec<Value>> = said.lines().map(reading).collect();
    assert!(readings.is_some(), "a rejection: {said}");
    readings.unwrap()
}
