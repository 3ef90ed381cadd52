//! Kafka deletes raw records while a replay reads them.

use std::{fmt::Write as _, process::Stdio};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    payload::{glucose, heart_rate},
    replay::export,
    world::{Setup, World, until},
};

/// More than a consumer reads ahead, so that the last of them are deleted before they are read.
const RECORDS: i64 = 100;
const SAMPLES: i64 = 250;
/// The records that are deleted while the first ones are compared.
const DELETED: i64 = 90;

impl World {
    /// Deletes the records of a partition before an offset, as retention does.
    pub(crate) async fn delete_records(&self, topic: &str, before: i64) {
        let admin: AdminClient<DefaultClientContext> = self.kafka_settings().client().create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic(topic), 0, Offset::Offset(before)).unwrap();
        admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
    }
}

impl World {
    /// Redrives a dead letter. Returns all that is printed, and whether it is resolved.
    fn redrive_text(&self, id: &str) -> (String, bool) {
        let mut command = self.kafka_command("dead-letters");
        command.args(["redrive", id]).env("RECEIPT_KEY_FILE", self.path("receipt.key"));
        let output = command.env("DATABASE_URL", &self.database_url).output().unwrap();
        (String::from_utf8([output.stdout, output.stderr].concat()).unwrap(), output.status.success())
    }
}

/// Samples of about 1 KB each.
fn samples() -> Value {
    let padded = |_| {
        let mut sample = heart_rate(61);
        let mut padding = String::new();
        (0..20).for_each(|_| write!(padding, "{}", Uuid::new_v4()).unwrap());
        sample["metadata"] = json!({ "padding": padding });
        sample
    };
    (0..SAMPLES).map(padded).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_deleted_under_a_replay_are_listed_and_their_readings_stay() {
    let world = World::start_as(Setup { partitions: 1, ..Setup::default() }).await;
    for _ in 0..RECORDS {
        world.client.post("/health-data/healthkit/standard-json", &samples()).await;
    }
    let path = "/health-data/healthkit/export-xml?deviceId=watch-1";
    // Several chunks.
    let upload = export().replace("<HealthData>", &format!("<HealthData>{}", "<!-- 0123456789 -->".repeat(80_000)));
    assert_eq!(world.client.try_upload(path, upload).await.unwrap().status(), 200);
    let readings = RECORDS * SAMPLES + 30;
    world.until_count("SELECT count(*) FROM readings", readings).await;
    world.assert_ledger(readings).await;

    let mut compare = world.kafka_command("replay");
    compare.args(["--provider", "healthkit", "--records-per-second", "15", "--parallel", "1", "--json"]);
    compare.env("RECEIPT_KEY_FILE", world.path("receipt.key")).env("DATABASE_URL", &world.database_url);
    let compare = compare.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let compared = "SELECT sum(next_offset - first_offset)::bigint FROM replay_ranges WHERE topic = 'raw.healthkit'";
    until("some records are compared", || async {
        world.count("SELECT count(*) FROM replay_ranges").await > 0 && world.count(compared).await > 0
    })
    .await;
    world.delete_records("raw.healthkit", DELETED).await;
    // The first chunk of the upload goes, its end stays.
    world.delete_records("raw.uploads", 1).await;
    let output = compare.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let report: Value =
        said.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| panic!("{said}"));
    assert!(output.status.success(), "nothing differs: {said}");
    assert_eq!(
        (&report["state"], &report["withdrawn"], &report["outcomes"]),
        (&json!("compared"), &json!(0), &json!(0))
    );
    let gone = report["deleted_records"].as_i64().unwrap();
    assert!(gone > 2 && gone < DELETED, "some of the deleted records were compared before: {said}");
    assert_eq!(report["records"], json!(RECORDS + 2 - gone), "{report}");
    let listed: Vec<(&str, i64)> = report["deleted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|range| {
            let [first, end] = ["first", "end"].map(|name| range[name].as_i64().unwrap());
            assert!(range["topic"] == "raw.uploads" || end == DELETED, "{report}");
            (range["topic"].as_str().unwrap(), end - first)
        })
        .collect();
    assert_eq!(listed.iter().map(|(_, records)| records).sum::<i64>(), gone, "{report}");
    let of_uploads: i64 = listed.iter().filter(|(topic, _)| *topic == "raw.uploads").map(|(_, records)| records).sum();
    assert_eq!(of_uploads, 2, "a chunk, and the end of the upload, which cannot be mapped without it: {report}");
    let (shown, _) =
        world.command("replay", &["show", "1", "--receipt-key-file", world.path("receipt.key").to_str().unwrap()]);
    assert!(
        shown.contains(&format!(
            "raw records that no longer exist: raw.healthkit:0, offsets {} to 89",
            DELETED + 2 - gone
        )),
        "{shown}"
    );

    // A later one knows it from the start.
    let (found, report) = world.replay(&["--provider", "healthkit"]);
    assert!(!found.is_different);
    assert_eq!((&report["records"], &report["deleted_records"]), (&json!(RECORDS - DELETED), &json!(DELETED + 2)));
    world.assert_promises(readings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_after_a_comparison_is_named_by_the_apply_and_by_a_redrive() {
    let world = World::start_as(Setup { partitions: 1, ..Setup::default() }).await;
    world.client.try_post_medisante(&json!({})).await.unwrap();
    for second in 0..3 {
        world.client.post_medisante(&glucose(second)).await;
    }
    world.until_count("SELECT count(*) FROM readings", 3).await;
    world.until_count("SELECT count(*) FROM dead_letters", 1).await;
    world.assert_ledger(4).await;
    let mistake = "UPDATE readings SET mapping_version = 0, value_num = 7.25";
    assert_eq!(sqlx::query(mistake).execute(&world.pool).await.unwrap().rows_affected(), 3);
    let (_, report) = world.replay(&["--provider", "medisante"]);
    assert_eq!((&report["replay"], &report["changed"]), (&json!(1), &json!(3)));

    world.delete_records("raw.medisante", 2).await;
    let key = world.path("receipt.key").to_str().unwrap().to_owned();
    let (said, is_done) = world.command("replay", &["--receipt-key-file", &key, "--apply", "1"]);
    assert!(!is_done && said.contains("the raw record raw.medisante:0:1 no longer exists"), "{said}");

    // The time of a deleted record is not known, so that a condition on the time does not exclude it.
    let (said, _) = world.command("replay", &["--receipt-key-file", &key, "--provider", "medisante", "--since", "1h"]);
    assert!(said.contains("raw.medisante:0, offsets 0 to 1; their time is not known any more"), "{said}");
    let found = world.reconcile(&["--since", "1h"]);
    assert_eq!(found["topics"]["raw.medisante"]["deleted"], json!(2), "{found}");

    let letters = world.operate_json("dead-letters", &["list"]);
    let id = letters[0]["id"].as_str().unwrap();
    let (said, is_done) = world.redrive_text(id);
    assert!(!is_done && said.contains(&format!("{id}: its raw record no longer exists")), "{said}");
    let letters = world.operate_json("dead-letters", &["list"]);
    assert_eq!((&letters[0]["state"], &letters[0]["attempts"]), (&json!("open"), &json!(1)), "{letters:?}");
    assert!(world.operate("dead-letters", &["discard", id, "--reason", "test data", "--yes"]).1);
    let (said, is_done) = world.redrive_text(id);
    assert!(!is_done && said.contains(&format!("{id} is discarded")), "{said}");
}
