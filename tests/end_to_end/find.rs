//! "My reading of this morning is missing": the answer from a patient's id, in at most two commands.

use serde_json::{Value, json};

use crate::{
    payload::{glucose_of, heart_rate, text, weight_of},
    world::{Stage, World, until},
};

const READINGS: &str = "SELECT count(*) FROM readings";

fn assign(device: &str, patient: &str, from: &str) -> Value {
    json!({
        "deviceId": device, "deviceType": "Glucose meter", "name": "Meter", "deviceProvider": "medisante",
        "assignedPatientId": patient, "effectiveFrom": from,
    })
}

fn now() -> String {
    text(time::OffsetDateTime::now_utc())
}

/// The text of `find` for a patient, and whether a payload was found.
fn find(world: &World, arguments: &[&str]) -> (String, bool) {
    let (said, is_found) = world.operate("find", arguments);
    (String::from_utf8(said).unwrap(), is_found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_reading_is_explained_from_the_patients_id() {
    let mut world = World::start().await;
    let (device, other) = ("350000000000077", "350000000000078");
    world.client.post("/devices/assign", &assign(device, "patient-77", "2026-01-01T00:00:00Z")).await;

    // Never sent.
    world.until_count("SELECT count(*) FROM device_assignments", 1).await;
    let since = now();
    let (said, is_found) = find(&world, &["--patient", "patient-77", "--since", &since]);
    assert!(
        !is_found && said.contains("no payload of this patient's devices, or that names the patient, was received"),
        "{said}"
    );
    assert!(said.contains("assigned to this patient from 2026-01-01T00:00:00Z until now"), "{said}");
    until("nothing is in flight", || async {
        find(&world, &["--patient", "patient-77"]).0.contains("nothing is in flight")
    })
    .await;

    // It is attributed to the patient.
    world.client.post_medisante(&glucose_of(device, &now())).await;
    world.until_count(READINGS, 1).await;
    let (said, is_found) = find(&world, &["--patient", "patient-77"]);
    assert!(
        is_found
            && said.contains("1 reading (current): Glucose")
            && said.contains("of this patient by device assignment"),
        "{said}"
    );

    // It is attributed to another holder, because the device was handed over.
    world.client.post("/devices/assign", &assign(device, "patient-78", &now())).await;
    world.until_count("SELECT count(*) FROM device_assignments", 2).await;
    world.client.post_medisante(&glucose_of(device, &now())).await;
    world.until_count(READINGS, 2).await;
    let (said, _) = find(&world, &["--patient", "patient-77"]);
    assert!(said.contains("of another patient by device assignment"), "{said}");
    assert!(said.contains("assigned to another patient from") && !said.contains("patient-78"), "{said}");
    assert_eq!(world.count("SELECT count(*) FROM audit").await, 0);
    let (said, _) = find(&world, &["--patient", "patient-77", "--reveal", "--operator", "nina"]);
    assert!(said.contains("of patient patient-78 by device assignment"), "{said}");
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE command = 'find' AND operator = 'nina'").await, 1);

    // The payload names the patient, but another one holds the device.
    world.client.post("/devices/assign", &assign(other, "patient-78", "2026-01-01T00:00:00Z")).await;
    let mut claimed = weight_of(other, "w-1", "final", 80.5);
    claimed["subject"] = json!({ "reference": "Patient/patient-77" });
    claimed["effectiveDateTime"] = json!(now());
    world.client.post("/health-data/medisante/fhir-json", &claimed).await;
    world.until_count(READINGS, 3).await;
    world.until_count("SELECT count(*) FROM device_assignments", 3).await;
    let (said, _) = find(&world, &["--patient", "patient-77"]);
    assert!(said.contains("of another patient by device assignment, although the payload names another one"), "{said}");

    // It is refused: the answer names the dead letter, which says why.
    let mut refused = glucose_of(device, &now());
    refused["measurements"]["glucose"]["unit"] = json!("furlong");
    let receipt = world.client.post_medisante(&refused).await;
    world.until_count("SELECT count(*) FROM dead_letters", 1).await;
    let (said, _) = find(&world, &["--patient", "patient-77"]);
    let line =
        said.lines().find(|line| line.contains("1 refused item by the normalizer (open): unit-invalid")).unwrap();
    let (_, id) = line.rsplit_once("dead-letters show ").unwrap();
    let shown = String::from_utf8(world.operate("dead-letters", &["show", id]).0).unwrap();
    assert!(shown.contains("Use one of the units") && shown.contains(&receipt), "{shown}");
    assert!(!said.contains("furlong") && !said.contains("80.5"), "no health data: {said}");

    // It is refused as a whole, so that nobody knows whose it is.
    world.client.try_upload("/health-data/medisante/standard-json", "{".to_owned()).await.unwrap();
    world.until_count("SELECT count(*) FROM dead_letters", 2).await;
    let (said, _) = find(&world, &["--patient", "patient-77"]);
    assert!(said.contains("1 refused item since") && said.contains("nobody knows whose"), "{said}");

    // It is still in flight.
    world.until_ready((Stage::Normalizer, 0)).await;
    world.kill(Stage::Normalizer);
    world.client.post_medisante(&glucose_of(device, &now())).await;
    let (said, _) = find(&world, &["--patient", "patient-77"]);
    assert!(said.contains("in flight: 1 raw record without an outcome (raw.medisante partition "), "{said}");

    // A patient of whom nobody knows anything.
    let (said, is_found) = find(&world, &["--patient", "patient-79"]);
    assert!(!is_found && said.contains("no device was ever assigned to this patient"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_are_found_by_device_sender_request_and_time() {
    let world = World::start().await;
    let samples = json!([heart_rate(61), heart_rate("many"), heart_rate(62)]);
    let answer = world.client.post_as("order-9", "/health-data/healthkit/standard-json", &samples).await;
    let answer: Value = answer.json().await.unwrap();
    world.client.post("/health-data/healthkit/standard-json", &json!([samples[0]])).await;
    world.client.post("/devices/assign", &assign("350000000000077", "patient-77", "2026-01-01T00:00:00Z")).await;
    world.until_count("SELECT count(*) FROM reading_duplicates", 1).await;
    world.until_count("SELECT count(*) FROM device_assignments", 1).await;
    world.until_count("SELECT count(*) FROM dead_letters", 1).await;

    let one = |arguments: &[&str]| world.operate_json("find", arguments).remove(0);
    let found = one(&["--device", "watch-1"]);
    let payloads = found["payloads"].as_array().unwrap();
    assert_eq!(payloads.len(), 2, "{found:#}");
    let states = |payload: &Value| -> Vec<(Value, Value)> {
        let groups = payload["readings"].as_array().unwrap().iter();
        groups.map(|group| (group["state"].clone(), group["readings"].clone())).collect()
    };
    let first = payloads.iter().find(|payload| payload["receipt"] == answer[0]["_id"]).unwrap();
    assert_eq!(states(first), [(json!("current"), json!(2))]);
    assert_eq!(first["refused"][0]["reason"], "value-invalid");
    let again = payloads.iter().find(|payload| payload["receipt"] != answer[0]["_id"]).unwrap();
    assert_eq!(states(again), [(json!("duplicate"), json!(1))]);
    assert_eq!((&again["source"], &again["format"]), (&json!("tests"), &json!("standard-json")), "{found:#}");
    assert!(again["received_at"].as_str() > first["received_at"].as_str(), "{found:#}");
    assert_eq!(&payloads[1], again, "in the order in which Kafka received them");
    let newest = one(&["--device", "watch-1", "--source", "tests", "--limit", "1"]);
    assert_eq!(newest["payloads"][0]["receipt"], again["receipt"], "{newest:#}");
    assert_eq!(found["devices"][0]["device_id"], "watch-1");

    let by_request = one(&["--correlation-id", "order-9"]);
    assert_eq!(by_request["payloads"].as_array().unwrap().len(), 1);
    let payload = &by_request["payloads"][0];
    assert_eq!((&payload["receipt"], &payload["source"]), (&answer[0]["_id"], &json!("tests")));
    assert_eq!((&payload["readings"][0]["readings"], &payload["refused"][0]["items"]), (&json!(2), &json!(1)));
    let count = |arguments: &[&str]| one(arguments)["payloads"].as_array().unwrap().len();
    assert_eq!(count(&["--source", "tests"]), 3);
    assert_eq!(count(&["--source", "tests", "--limit", "2"]), 2);
    assert_eq!(count(&["--source", "tests", "--provider", "healthkit"]), 2);
    assert_eq!(count(&["--since", "1h", "--until", "30m"]), 0);
    assert_eq!(count(&["--source", "nobody"]), 0);
    let commands = one(&["--source", "tests"]);
    let command =
        commands["payloads"].as_array().unwrap().iter().find(|payload| payload["format"] == "assign").unwrap();
    assert_eq!(command["device_command"]["verdict"], "applied");
}
