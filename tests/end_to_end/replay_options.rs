//! What the options of `device-manager replay` do: values, defaults, rates, an abort while it applies, and documents.

use std::{fs, process::Stdio, time::Instant};

use serde_json::{Value, json};

use crate::{
    payload::{ecg, glucose, heart_rate},
    world::{Setup, Stage, World, until},
};

const SAMPLES: &str = "/health-data/healthkit/standard-json";

impl World {
    /// Runs `replay` with these arguments. Returns what it prints, and whether it succeeded.
    fn replay_text(&self, arguments: &[&str]) -> (String, bool) {
        let (said, succeeded) = self.operate("replay", arguments);
        (String::from_utf8(said).unwrap(), succeeded)
    }

    async fn alter_all(&self, statement: &str) {
        assert!(sqlx::query(statement).execute(&self.pool).await.unwrap().rows_affected() > 0, "{statement}");
    }

    async fn send(&self, records: i64) {
        for number in 0..records {
            self.client.post_medisante(&glucose(number)).await;
        }
        self.until_count("SELECT count(*) FROM readings", records).await;
        self.assert_ledger(records).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_shows_values_only_with_a_record_of_who_looked() {
    let world = World::start().await;
    world.send(5).await;
    world.alter_all("UPDATE readings SET mapping_version = 0, value_num = 7.25").await;
    let arguments = ["--provider", "medisante", "--operator", "nina"];
    let report = world.path("diff.json");
    let (said, _) = world.replay_text(&[&arguments[..], &["--report", report.to_str().unwrap()]].concat());
    let report = std::fs::read_to_string(report).unwrap();
    assert!(said.contains("5 changed") && !said.contains("7.25") && !said.contains("5.6"), "{said}");
    assert!(!report.contains("7.25") && !report.contains("5.6"), "{report}");
    let looked = "SELECT count(*) FROM audit WHERE operator = 'nina' AND command = 'replay --reveal'";
    assert_eq!(world.count("SELECT count(*) FROM audit").await, 0);

    let (said, _) = world.replay_text(&[&arguments[..], &["--reveal"]].concat());
    assert_eq!(said.matches("7.25 mmol/L -> 5.6 mmol/L").count(), 3, "three examples: {said}");
    assert_eq!(world.count(looked).await, 1);
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE detail LIKE 'replay 2:%'").await, 1);

    // Without a record of who looked, nothing is printed; and nothing of it is stored.
    world.alter_all("INSERT INTO audit (operator, command, detail) VALUES ('otto', 'none', '')").await;
    sqlx::raw_sql("ALTER TABLE audit ADD CHECK (operator <> 'nina') NOT VALID").execute(&world.pool).await.unwrap();
    assert_eq!(world.replay_text(&[&arguments[..], &["--reveal"]].concat()), (String::new(), false));
    let (said, _) = world.replay_text(&["show", "2"]);
    assert!(said.contains("5 changed") && !said.contains("7.25"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_defaults_of_a_library_apply_to_records_that_declare_none() {
    let world = World::start().await;
    let mut weight = heart_rate(100);
    weight["type"] = json!("HKQuantityTypeIdentifierBodyMass");
    weight.as_object_mut().unwrap().remove("unit");
    world.client.post(SAMPLES, &json!([weight, heart_rate(61), heart_rate("many")])).await;
    world.until_count("SELECT count(*) FROM dead_letters WHERE reason = 'unit-missing'", 1).await;
    world.until_count("SELECT count(*) FROM readings", 1).await;
    world.assert_ledger(3).await;
    assert!(!world.replay(&["--provider", "healthkit"]).0.is_different);

    let with_defaults = ["--provider", "healthkit", "--defaults", "react-native-health"];
    let (found, report) = world.replay(&with_defaults);
    assert!(found.is_different);
    assert_eq!((&report["added"], &report["changed"], &report["withdrawn"]), (&json!(1), &json!(0), &json!(0)));
    assert_eq!(report["refusals"]["newly_accepted"], json!({ "unit-missing": 1 }));
    let (said, is_applied) = world.replay_text(&["--apply", &report["replay"].to_string()]);
    assert!(is_applied, "{said}");
    let stored =
        "SELECT count(*) FROM attributed_readings WHERE code = '29463-7' AND unit = 'kg' AND value_num = 45.359237";
    assert_eq!(world.count(stored).await, 1);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters WHERE state = 'resolved'").await, 1);
    world.assert_ledger(3).await;
    assert!(!world.replay(&with_defaults).0.is_different);

    // They stay in force for a replay without them, and after a redrive of the other refused item.
    let plain = ["--provider", "healthkit"];
    assert!(!world.replay(&plain).0.is_different);
    let letters = world.operate_json("dead-letters", &["list"]);
    let (said, is_resolved) = world.operate("dead-letters", &["redrive", letters[0]["id"].as_str().unwrap()]);
    assert!(!is_resolved, "{}", String::from_utf8_lossy(&said));
    for _ in 0..2 {
        assert!(!world.replay(&plain).0.is_different);
        assert_eq!(world.count(stored).await, 1);
        assert_eq!(world.count("SELECT count(*) FROM dead_letters WHERE state = 'resolved'").await, 1);
    }
    // A reconciliation knows them, too: it names the item that is missing.
    world.alter_all("DELETE FROM readings WHERE unit = 'kg'").await;
    let found = world.reconcile(&[]);
    let missing = &found["findings"][0];
    assert_eq!((&missing["kind"], &missing["item"]), (&json!("missing-reading"), &json!(0)), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_the_rate_that_the_operator_gives() {
    let world = World::start().await;
    world.send(60).await;
    world.alter_all("UPDATE readings SET mapping_version = 0, value_num = 7.25").await;
    // The rate is that of all partitions together. The first record is not delayed.
    for parallel in ["1", "3"] {
        let started = Instant::now();
        let (_, report) =
            world.replay(&["--provider", "medisante", "--records-per-second", "20", "--parallel", parallel]);
        assert!(started.elapsed().as_millis() >= 59 * 50, "{parallel}: {:?}", started.elapsed());
        assert_eq!((&report["records"], &report["changed"]), (&json!(60), &json!(60)), "{parallel}");
    }
    let started = Instant::now();
    let (said, is_applied) = world.replay_text(&["--apply", "2", "--records-per-second", "20", "--parallel", "3"]);
    assert!(is_applied && started.elapsed().as_millis() >= 59 * 50, "{:?}: {said}", started.elapsed());
    let (found, report) = world.replay(&["--provider", "medisante", "--parallel", "1"]);
    assert!(!found.is_different, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_document_alone_is_a_difference_and_is_stored_again() {
    let world = World::start().await;
    let receipt = world.client.post_medisante(&ecg("JVBERi0xLjQ=")).await;
    world.until_count("SELECT count(*) FROM documents", 1).await;
    world.assert_ledger(1).await;
    assert_eq!(world.reconcile(&[])["balanced"], true);
    let document = "SELECT count(*) FROM documents WHERE content = decode('JVBERi0xLjQ=', 'base64')";
    assert_eq!(world.count(document).await, 1);
    assert!(!world.replay(&["--provider", "medisante"]).0.is_different);
    world.alter_all("DELETE FROM documents").await;

    let missing = world.reconcile(&[]);
    assert_eq!(missing["found"], json!({ "missing-document": 1 }), "{missing}");
    let finding = &missing["findings"][0];
    let reading = "SELECT count(*) FROM readings WHERE reading_id::text = ";
    assert_eq!(world.count(&format!("{reading}'{}'", finding["reading_id"].as_str().unwrap())).await, 1);

    let list = world.path("list.json");
    let (found, report) = world.replay(&["--provider", "medisante", "--report", list.to_str().unwrap()]);
    assert!(found.is_different);
    let list: Value = serde_json::from_str(&fs::read_to_string(list).unwrap()).unwrap();
    let expected = json!([{ "id": null, "kind": "record", "fields": [], "receipt": receipt }]);
    assert_eq!(list["changes"], expected, "the record is named: {list}");
    let counts = ["added", "changed", "withdrawn", "commands", "outcomes"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [0, 0, 0, 0, 1], "{report}");
    let (said, is_applied) = world.replay_text(&["--apply", &report["replay"].to_string()]);
    assert!(is_applied, "{said}");
    assert_eq!(world.count(document).await, 1);
    let others = "SELECT (SELECT count(*) FROM reading_history) + (SELECT count(*) FROM reading_duplicates)";
    assert_eq!(world.count(others).await, 0, "no reading is touched");
    world.assert_ledger(1).await;
    assert!(!world.replay(&["--provider", "medisante"]).0.is_different);
    assert_eq!(world.reconcile(&[])["balanced"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_without_records_is_remarked() {
    let world = World::start().await;
    world.send(1).await;
    let remark = "no raw record is in the scope";
    let compared = |arguments: &[&str]| {
        let key = world.path("receipt.key");
        world.command("replay", &[&["--receipt-key-file", key.to_str().unwrap()], arguments].concat())
    };
    let (said, _) = compared(&["--provider", "medisante"]);
    assert!(!said.contains(remark), "{said}");
    for nothing in [
        &["--provider", "healthkit"][..],
        &["--provider", "medisante", "--topic-prefix", "nobody."],
        &["--provider", "medisante", "--until", "2026-01-01T00:00:00Z"],
    ] {
        let (said, _) = compared(nothing);
        assert!(said.contains(remark), "{said}");
    }
    let receipt = world.client.post_medisante(&glucose(9)).await;
    let (said, succeeded) = compared(&["--provider", "healthkit", "--receipt", &receipt]);
    assert!(!succeeded && said.contains("the receipt is not one of healthkit"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_aborted_while_it_applies_stops_and_a_new_one_repairs_the_rest() {
    // One partition, so that there is progress after 500 of its records.
    let world = World::start_as(Setup { partitions: 1, ..Setup::default() }).await;
    let records = 1_800;
    world.send(records).await;
    world.alter_all("UPDATE readings SET mapping_version = 0, value_num = 7.25").await;
    let (_, report) = world.replay(&["--provider", "medisante"]);
    assert_eq!(report["changed"], json!(records));

    let mut apply = world.kafka_command("replay");
    apply.args(["--apply", "1", "--records-per-second", "400"]).env("DATABASE_URL", &world.database_url);
    apply.env("RECEIPT_KEY_FILE", world.path("receipt.key")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let apply = apply.spawn().unwrap();
    let applied = "SELECT coalesce(sum(next_offset - first_offset), 0)::bigint FROM replay_ranges WHERE pass = 'apply'";
    until("a part is applied", || async { world.count(applied).await > 0 }).await;
    for option in ["--apply", "--resume"] {
        let (said, is_done) =
            world.command("replay", &["--receipt-key-file", &world.path("receipt.key").to_string_lossy(), option, "1"]);
        assert!(!is_done && said.contains("another process works on the replay 1"), "{said}");
    }
    let (said, is_aborted) = world.replay_text(&["abort", "1"]);
    assert!(is_aborted, "{said}");
    let output = apply.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!output.status.success() && said.contains("the replay 1 was aborted"), "{said}");
    let state = "SELECT count(*) FROM replays WHERE replay_id = 1 AND state = 'aborted'";
    assert_eq!(world.count(state).await, 1);
    assert!(!world.replay_text(&["--apply", "1"]).1, "it does not go on");

    // What it has published is stored, and each reading is as before or right.
    let (found, report) = world.replay(&["--provider", "medisante"]);
    assert!(found.is_different);
    let right = world.count("SELECT count(*) FROM readings WHERE value_num = 5.6 AND replay = 1").await;
    let wrong = world.count("SELECT count(*) FROM readings WHERE value_num = 7.25 AND mapping_version = 0").await;
    assert!(right > 0 && right < records && right + wrong == records, "{right} right, {wrong} wrong");
    assert_eq!(report["changed"], json!(wrong));
    assert_eq!(world.count("SELECT count(*) FROM reading_history").await, right);
    world.assert_ledger(records).await;
    let (said, _) = world.replay_text(&["show", "1"]);
    assert!(said.contains("until it was aborted") && said.contains(&format!(" {right} changed")), "{right}: {said}");

    let (said, is_applied) = world.replay_text(&["--apply", &report["replay"].to_string()]);
    assert!(is_applied, "{said}");
    assert_eq!(world.count("SELECT count(*) FROM readings WHERE value_num = 5.6").await, records);
    assert_eq!(world.count("SELECT count(*) FROM reading_history").await, records);
    assert!(!world.replay(&["--provider", "medisante"]).0.is_different);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_replay_says_so_and_an_apply_that_waits_for_the_sinks_notices_an_abort() {
    let mut world = World::start().await;
    world.send(3).await;
    world.alter_all("UPDATE readings SET mapping_version = 0, value_num = 7.25").await;
    // A report that cannot be written is noticed before the comparison.
    let nowhere = world.path("nowhere/diff.html");
    let (_, is_done) = world.replay_text(&["--provider", "medisante", "--report", nowhere.to_str().unwrap()]);
    assert!(!is_done);
    assert_eq!(world.count("SELECT count(*) FROM replays").await, 0);

    let key = world.path("receipt.key").to_str().unwrap().to_owned();
    let said = |world: &World, arguments: &[&str]| {
        world.command("replay", &[&["--receipt-key-file", &key], arguments].concat())
    };
    let (_, report) = world.replay(&["--provider", "medisante"]);
    assert_eq!((&report["replay"], &report["changed"]), (&json!(1), &json!(3)));
    let (shown, is_done) = said(&world, &["--resume", "1", "--reveal", "--operator", "nina"]);
    assert!(!is_done && shown.contains("the replay 1 is compared already"), "{shown}");
    assert_eq!(world.count("SELECT count(*) FROM audit").await, 0, "nothing is shown");
    assert!(said(&world, &["--apply", "1"]).1);
    let (shown, is_done) = said(&world, &["--resume", "1"]);
    assert!(is_done && shown.contains("the replay 1 is applied") && !shown.contains("nothing was changed"), "{shown}");

    world.alter_all("UPDATE readings SET mapping_version = 0, value_num = 7.25, replay = 0").await;
    let (_, report) = world.replay(&["--provider", "medisante"]);
    assert_eq!((&report["replay"], &report["changed"]), (&json!(2), &json!(3)));
    world.kill(Stage::Sink);
    let mut apply = world.kafka_command("replay");
    apply.args(["--apply", "2"]).env("DATABASE_URL", &world.database_url).env("RECEIPT_KEY_FILE", &key);
    let apply = apply.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let published = "SELECT count(*) FROM replay_ranges WHERE replay_id = 2 AND pass = 'apply'";
    until("all is published", || async {
        world.count(published).await > 0 && world.count(&format!("{published} AND next_offset < end_offset")).await == 0
    })
    .await;
    let aborted = Instant::now();
    let (shown, is_aborted) = world.replay_text(&["abort", "2"]);
    assert!(is_aborted, "{shown}");
    let output = apply.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && printed.contains("the replay 2 was aborted"), "{printed}");
    assert!(aborted.elapsed().as_secs() < 60, "it does not wait for the sinks");
}
