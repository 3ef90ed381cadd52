//! What `device-manager replay` reports about differences between the raw topics and the database.

use std::fmt::Write as _;

use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use crate::{
    payload::{START, glucose, heart_rate, text, weight},
    world::{Stage, WITHIN, World},
};

/// The differing readings in the order added, changed, withdrawn; the refused items in the order unchanged, newly refused, newly
/// accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    readings: [u64; 3],
    refused: [u64; 3],
    pub(crate) is_different: bool,
}

impl World {
    pub(crate) fn replay(&self, arguments: &[&str]) -> (Found, Value) {
        let key = self.path("receipt.key");
        let arguments = [&["--receipt-key-file", key.to_str().unwrap(), "--json"], arguments].concat();
        let (printed, succeeded) = self.command("replay", &arguments);
        let line = printed.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{printed}"));
        let report: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| report[name].as_u64().unwrap();
        let sum =
            |name: &str| report["refusals"][name].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        let found = Found {
            readings: [number("added"), number("changed"), number("withdrawn")],
            refused: [report["refusals"]["unchanged"].as_u64().unwrap(), sum("newly_refused"), sum("newly_accepted")],
            is_different: !succeeded,
        };
        (found, report)
    }
}

pub(crate) fn export() -> String {
    let mut records = String::new();
    for second in 10..40 {
        let at = format!("2026-02-01 08:00:{second} +0100");
        writeln!(
            records,
            "<Record type=\"HKQuantityTypeIdentifierHeartRate\" sourceName=\"Watch\" unit=\"count/min\" \
             startDate=\"{at}\" endDate=\"{at}\" value=\"61\"/>"
        )
        .unwrap();
    }
    format!("<HealthData>\n<ExportDate value=\"2026-03-01 08:00:00 +0100\"/>\n{records}</HealthData>\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_finds_exactly_the_readings_and_refusals_that_differ() {
    let mut world = World::start().await;
    let receipt = world.client.post_medisante(&glucose(0)).await;
    for second in 1..5 {
        world.client.post_medisante(&glucose(second)).await;
    }
    world.client.post("/health-data/medisante/fhir-json", &weight("w-1", 70.0)).await;
    // A correction of it, and a second delivery of that: the first content is superseded, the last one a duplicate.
    for _ in 0..2 {
        world.client.post("/health-data/medisante/fhir-json", &weight("w-1", 71.0)).await;
    }
    // Postgres cannot store a NUL, so the sink refuses the reading.
    let refused = json!({ "resourceType": "Observation", "id": "w-2", "status": "final", "code": { "text": "note" }, "valueString": "a\u{0}b" });
    world.client.post("/health-data/medisante/fhir-json", &refused).await;
    let samples = json!([heart_rate("61"), heart_rate("many"), heart_rate("few"), heart_rate("62")]);
    world.client.post("/health-data/healthkit/standard-json", &samples).await;
    let path = "/health-data/healthkit/export-xml?deviceId=watch-1";
    assert_eq!(world.client.try_upload(path, export()).await.unwrap().status(), 200);
    world.until_count("SELECT count(*) FROM readings", 6 + 2 + 30).await;
    world.assert_ledger(9 + 4).await;

    let (found, report) = world.replay(&["--provider", "medisante"]);
    assert_eq!(found, Found { readings: [0; 3], refused: [1, 0, 0], is_different: false });
    assert_eq!((&report["records"], &report["unchanged"], &report["superseded"]), (&json!(9), &json!(7), &json!(1)));
    let (found, report) = world.replay(&["--provider", "healthkit"]);
    assert_eq!(found, Found { readings: [0; 3], refused: [2, 0, 0], is_different: false });
    assert_eq!((&report["records"], &report["unchanged"]), (&json!(2), &json!(32)));

    // What a database would contain after other mappings, each of which made one mistake.
    for mistake in [
        "UPDATE readings SET value_num = value_num * 1000 WHERE coding_id = (SELECT coding_id FROM codings WHERE code = '29463-7')",
        "DELETE FROM readings WHERE reading_id = (SELECT reading_id FROM readings ORDER BY measured_from DESC LIMIT 1)",
        // No raw record yields the new id, and one raw record yields the old one.
        "UPDATE readings SET reading_id = gen_random_uuid()
         WHERE reading_id = (SELECT reading_id FROM readings WHERE topic_code = 3 ORDER BY measured_from LIMIT 1)",
        "UPDATE dead_letters SET item_count = 1 WHERE stage = 'normalizer'",
        "INSERT INTO dead_letters SELECT origin_topic, origin_partition, origin_offset, 0, stage, 'type-missing', detail, content_hmac,
             raw_topic, topic_epoch, raw_partition, raw_offset, origin_at, letter_partition, letter_offset, 1 FROM dead_letters WHERE stage = 'normalizer'",
    ] {
        sqlx::query(mistake).execute(&world.pool).await.unwrap();
    }
    let (found, report) = world.replay(&["--provider", "medisante"]);
    assert_eq!(found, Found { readings: [1, 1, 0], refused: [1, 0, 0], is_different: true });
    let groups = report["groups"].as_array().unwrap();
    let group = |kind: &str| groups.iter().find(|group| group["kind"] == kind).unwrap();
    assert_eq!((&group("changed")["device"], &group("changed")["fields"]), (&json!("scale-1"), &json!({ "value": 1 })));
    assert_eq!((&group("added")["code"], &group("added")["readings"]), (&json!("15074-8"), &json!(1)));
    let (found, report) = world.replay(&["--provider", "healthkit"]);
    assert_eq!(found, Found { readings: [1, 0, 1], refused: [1, 1, 1], is_different: true });
    assert_eq!(report["refusals"]["newly_refused"], json!({ "value-invalid": 1 }));
    assert_eq!(report["refusals"]["newly_accepted"], json!({ "type-missing": 1 }));

    // Only what the scope covers.
    let assign = json!({
        "deviceId": "scale-1", "deviceType": "Scale", "name": "Scale", "deviceProvider": "medisante",
        "assignedPatientId": "patient-1", "effectiveFrom": "2026-01-01T00:00:00Z",
    });
    world.client.post("/devices/assign", &assign).await;
    world.until_count("SELECT count(*) FROM device_assignments", 1).await;
    for (patient, changed) in [("patient-1", 1), ("patient-2", 0)] {
        let (found, _) = world.replay(&["--provider", "medisante", "--patient", patient]);
        assert_eq!(found.readings, [0, changed, 0], "{patient}");
    }
    let (found, report) = world.replay(&["--provider", "medisante", "--credential", "another"]);
    assert_eq!((found.readings, &report["records"]), ([0; 3], &json!(0)));
    let (found, _) = world.replay(&["--provider", "medisante", "--device", "scale-1"]);
    assert_eq!(found.readings, [0, 1, 0]);
    let (found, report) = world.replay(&["--provider", "medisante", "--receipt", &receipt]);
    assert_eq!((found.readings, &report["records"]), ([0; 3], &json!(1)));
    let (found, report) = world.replay(&["--provider", "medisante", "--until", &text(START)]);
    assert_eq!((found.readings, &report["records"]), ([0; 3], &json!(0)));
    let (found, report) = world.replay(&["--provider", "healthkit", "--format", "standard-json"]);
    assert_eq!((found.readings, found.refused, &report["records"]), ([0; 3], [1, 1, 1], &json!(1)));

    // The page and the list of the readings that differ.
    let (page, list) = (world.path("diff.html"), world.path("diff.json"));
    world.replay(&["--provider", "medisante", "--report", page.to_str().unwrap()]);
    world.replay(&["--provider", "medisante", "--report", list.to_str().unwrap()]);
    assert!(std::fs::read_to_string(page).unwrap().contains("<td>changed</td>"));
    let list: Value = serde_json::from_str(&std::fs::read_to_string(list).unwrap()).unwrap();
    assert_eq!(list["changes"].as_array().unwrap().len(), 2);

    // A record without a value has no outcome, and hides none of those after it.
    let producer: FutureProducer = world.kafka_settings().producer().create().unwrap();
    let topic = world.topic("raw.medisante");
    for partition in 0..3 {
        let record = FutureRecord::<str, [u8]>::to(&topic).partition(partition).key("none");
        producer.send(record, WITHIN).await.unwrap();
    }
    world.client.post_medisante(&glucose(8)).await;
    world.until_count("SELECT count(*) FROM readings WHERE topic_code = 0", 6).await;
    let (found, report) = world.replay(&["--provider", "medisante"]);
    assert_eq!((found.readings, &report["records"], &report["unfinished_records"]), ([1, 1, 0], &json!(11), &json!(0)));

    // Records that the stages have not finished are not compared.
    world.kill(Stage::Normalizer);
    world.client.post_medisante(&glucose(9)).await;
    let (found, report) = world.replay(&["--provider", "medisante"]);
    assert_eq!((found.readings, &report["unfinished_records"]), ([1, 1, 0], &json!(1)));
}
