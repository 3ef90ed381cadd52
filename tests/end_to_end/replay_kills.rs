//! A replay and a redrive that are killed once at each of their steps end as one that is not killed.

use std::os::unix::process::ExitStatusExt as _;

use serde_json::{Value, json};

use crate::{
    dead_letters::break_off_upload,
    payload::{ecg, glucose, heart_rate},
    world::{Stage, WITHIN, World},
};

const SAMPLES: &str = "/health-data/healthkit/standard-json";
/// The signal by which a process ends itself at a fail point.
const SIGABRT: i32 = 6;

/// The steps of a comparison; the second pass is read only if something is missing.
const COMPARE: [&str; 4] =
    ["replay-batch-compared", "replay-progress-stored", "replay-others-found", "replay-compared"];
const APPLY: [&str; 5] =
    ["replay-begun", "replay-published", "replay-publication-stored", "replay-stored", "replay-applied"];
const REDRIVE: [&str; 8] = [
    "redrive-marked",
    "replay-batch-compared",
    "replay-compared",
    "replay-begun",
    "replay-published",
    "replay-publication-stored",
    "replay-stored",
    "redrive-closed",
];

/// What a replay changes, and what it notes about itself: columns and tables. Without positions and ids, which differ between two runs.
const CHANGED: [(&str, &str); 9] = [
    ("code, value_num, device_id, withdrawn, flags, status, mapping_version", "all_readings"),
    ("value_num, withdrawn, mapping_version, replay", "reading_history"),
    ("value_num, withdrawn, mapping_version, replay", "reading_versions"),
    ("item, withdrawn_mapping, withdrawn_replay", "reading_duplicates"),
    ("stage, reason, item, item_count, state, attempts, replay", "dead_letters"),
    ("topic, readings, rejections, commands, replay", "outcomes, generate_series(first_offset, last_offset)"),
    ("name, mapping_version, verdict", "device_commands"),
    ("content_type, octet_length(content)", "documents"),
    ("kind, state, (SELECT count(*) FROM replay_changes c WHERE c.replay_id = r.replay_id)", "replays r"),
];

impl World {
    /// Runs an operator's command, which ends itself at a step.
    fn end_at(&self, step: &str, name: &str, arguments: &[&str]) {
        let mut command = self.kafka_command(name);
        command.args(arguments).env("RECEIPT_KEY_FILE", self.path("receipt.key"));
        command.env("DATABASE_URL", &self.database_url).env("FAILPOINTS", format!("{step}=return"));
        let output = command.output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGABRT), "{step}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What is stored in the end.
    async fn result(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        for (columns, table) in CHANGED {
            let lines = format!("SELECT concat_ws(' ', {columns}) AS line FROM {table}");
            let query = format!("SELECT coalesce(string_agg(line, '; ' ORDER BY line), '') FROM ({lines}) lines");
            all.push((table, sqlx::query_scalar(&query).fetch_one(&self.pool).await.unwrap()));
        }
        all
    }
}

/// Repairs what mistakes have changed, with a kill at each of the steps. Returns what is stored afterwards.
async fn repaired(compare: &[&str], apply: &[&str]) -> Vec<(&'static str, String)> {
    let world = World::start().await;
    for second in 0..6 {
        world.client.post_medisante(&glucose(second)).await;
    }
    // The same reading twice, a refused one, a document and a command.
    for body in [&glucose(6); 2] {
        world.client.post_medisante(body).await;
    }
    world.client.try_post_medisante(&json!({})).await.unwrap();
    world.client.post_medisante(&ecg("JVBERi0xLjQ=")).await;
    let assign = json!({
        "deviceId": "350000000000001", "deviceType": "Meter", "name": "Meter", "deviceProvider": "medisante",
        "assignedPatientId": "patient-1", "effectiveFrom": "2026-01-01T00:00:00Z",
    });
    world.client.post("/devices/assign", &assign).await;
    world.until_count("SELECT count(*) FROM device_commands", 1).await;
    world.until_count("SELECT count(*) FROM reading_duplicates", 1).await;
    world.assert_ledger(10).await;
    for mistake in [
        "UPDATE readings SET mapping_version = 0, value_num = value_num * 1000 WHERE measured_from < '2026-03-01T00:00:03Z'",
        "DELETE FROM readings WHERE measured_from = '2026-03-01T00:00:04Z'",
        "UPDATE readings SET mapping_version = 0, reading_id = gen_random_uuid() WHERE measured_from = '2026-03-01T00:00:05Z'",
        "UPDATE device_commands SET mapping_version = 0, name = 'Wrong'",
        "UPDATE outcomes SET mapping_version = 0, readings = readings + 1 WHERE topic = 'raw.medisante'",
        "DELETE FROM dead_letters",
        "DELETE FROM documents",
    ] {
        assert!(sqlx::query(mistake).execute(&world.pool).await.unwrap().rows_affected() > 0, "{mistake}");
    }
    let mut arguments = vec!["--provider", "medisante"];
    for step in compare {
        world.end_at(step, "replay", &arguments);
        arguments = vec!["--resume", "1"];
    }
    let (found, report) = world.replay(&arguments);
    assert!(found.is_different);
    let counts = ["added", "changed", "withdrawn", "commands"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [2, 3, 1, 1], "{report}");
    for step in apply {
        world.end_at(step, "replay", &["--apply", "1"]);
    }
    let (said, is_applied) = world.operate("replay", &["--apply", "1", "--json"]);
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert!(is_applied && said["state"] == "applied", "{said}");
    let stored = world.result().await;
    world.assert_ledger(10).await;
    let (found, report) = world.replay(&["--provider", "medisante"]);
    assert!(!found.is_different, "{report}");
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_at_each_step_ends_as_one_that_is_not() {
    let killed = repaired(&COMPARE, &APPLY).await;
    assert_eq!(killed, repaired(&[], &[]).await);
}

/// Redrives dead letters of all kinds, with a kill at each of the steps. Returns what is stored afterwards.
async fn redriven(steps: &[&str]) -> Vec<(&'static str, String)> {
    let mut world = World::start().await;
    world.until_ready((Stage::Normalizer, 0)).await;
    world.kill(Stage::Normalizer);
    // An operator skipped a record that the mapping accepts.
    world.client.post(SAMPLES, &json!([heart_rate(61), heart_rate(62)])).await;
    world.run_skipping(&["raw.healthkit:0:0", "raw.healthkit:1:0", "raw.healthkit:2:0"]);
    world.until_count("SELECT count(*) FROM dead_letters WHERE reason = 'skipped'", 1).await;
    world.until_ready((Stage::Normalizer, 0)).await;
    assert!(world.terminate((Stage::Normalizer, 0), WITHIN).await);
    world.run(Stage::Normalizer);
    // These are refused again: by the mapping, by Postgres, and because the upload has no end.
    world.client.post(SAMPLES, &json!([heart_rate(63), heart_rate("many"), heart_rate("some")])).await;
    let mut nul = heart_rate(64);
    nul["unit"] = json!("count/min\u{0}");
    world.client.try_post(SAMPLES, &json!([nul])).await.unwrap();
    break_off_upload(&world);
    // A command that Postgres refuses and then accepts, and one that it refuses again.
    let constraint = "ALTER TABLE device_commands ADD CONSTRAINT planted CHECK (name NOT LIKE 'Refused%') NOT VALID";
    sqlx::raw_sql(constraint).execute(&world.pool).await.unwrap();
    for name in ["Refused once", "Refused twice"] {
        let assign = json!({
            "deviceId": name, "deviceType": "Watch", "name": name, "deviceProvider": "healthkit",
            "assignedPatientId": "patient-1", "effectiveFrom": "2026-01-01T00:00:00Z",
        });
        world.client.post("/devices/assign", &assign).await;
    }
    world.until_count("SELECT count(*) FROM dead_letters", 6).await;
    let constraint = constraint.replace("Refused%", "Refused twice").replace("ADD", "DROP CONSTRAINT planted, ADD");
    sqlx::raw_sql(&constraint).execute(&world.pool).await.unwrap();
    world.until_count("SELECT count(*) FROM readings", 1).await;
    let letters = world.operate_json("dead-letters", &["list"]);
    let ids: Vec<&str> = letters.iter().map(|letter| letter["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 6);
    let arguments = [&["redrive", "--operator", "nina"], &ids[..]].concat();
    for step in steps {
        world.end_at(step, "dead-letters", &arguments);
    }
    assert!(!world.operate("dead-letters", &arguments).1, "some are open");
    world.assert_promises(4).await;
    let commands =
        "SELECT concat_ws(' ', state, attempts) FROM dead_letters WHERE raw_topic = 'raw.devices' ORDER BY 1";
    let commands: Vec<String> = sqlx::query_scalar(commands).fetch_all(&world.pool).await.unwrap();
    assert_eq!(commands, ["open 2", "resolved 1"], "one is refused again, and one is stored");
    assert_eq!(world.count("SELECT count(*) FROM device_commands WHERE name = 'Refused once'").await, 1);
    world.result().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_killed_at_each_step_ends_as_one_that_is_not() {
    let killed = redriven(&REDRIVE).await;
    let letters = killed.iter().find(|(table, _)| *table == "dead_letters").unwrap().1.clone();
    assert_eq!((letters.matches("resolved 1 0").count(), letters.matches("open 2 1").count()), (2, 4), "{letters}");
    assert_eq!(killed, redriven(&[]).await);
}
