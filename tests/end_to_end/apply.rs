//! `device-manager replay --apply`: it changes what the comparison lists, and nothing else.

use std::{fs, process::Stdio, time::Duration};

use serde_json::{Value, json};

use crate::{
    payload::{glucose, glucose_of, heart_rate, weight},
    replay::export,
    world::{IngressClient, World, until},
};

impl World {
    fn receipt_key_file(&self) -> String {
        self.path("receipt.key").to_str().unwrap().to_owned()
    }

    /// Applies a replay. Returns what the command printed, and whether it succeeded.
    fn apply(&self, number: &Value) -> (String, bool) {
        self.command("replay", &["--receipt-key-file", &self.receipt_key_file(), "--apply", &number.to_string()])
    }

    /// The text that a query returns.
    async fn text(&self, query: &str) -> String {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    async fn alter(&self, statement: &str) {
        assert!(sqlx::query(statement).execute(&self.pool).await.unwrap().rows_affected() > 0, "{statement}");
    }
}

const VALUES: &str = "SELECT coalesce(string_agg(concat_ws(' ', code, value_num, device_id), ';' \
    ORDER BY code, value_num, device_id), '') FROM ";

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_replay_repairs_what_it_lists_and_a_second_one_finds_nothing() {
    let world = World::start().await;
    for second in 0..5 {
        world.client.post_medisante(&glucose(second)).await;
    }
    world.client.post("/health-data/medisante/fhir-json", &weight("w-1", 70.0)).await;
    // Postgres cannot store a NUL, so the sink refuses the reading.
    let refused = json!({ "resourceType": "Observation", "id": "w-2", "status": "final", "code": { "text": "note" }, "valueString": "a\u{0}b" });
    world.client.post("/health-data/medisante/fhir-json", &refused).await;
    let samples = json!([heart_rate("61"), heart_rate("many"), heart_rate("few"), heart_rate("62")]);
    world.client.post("/health-data/healthkit/standard-json", &samples).await;
    let path = "/health-data/healthkit/export-xml?deviceId=watch-1";
    assert_eq!(world.client.try_upload(path, export()).await.unwrap().status(), 200);
    let assign = json!({
        "deviceId": "scale-1", "deviceType": "Scale", "name": "Scale", "deviceProvider": "medisante",
        "assignedPatientId": "patient-1", "effectiveFrom": "2026-01-01T00:00:00Z",
    });
    world.client.post("/devices/assign", &assign).await;
    world.until_count("SELECT count(*) FROM readings", 6 + 2 + 30).await;
    world.assert_ledger(7 + 4 + 30).await;
    let right = world.text(&format!("{VALUES} attributed_readings")).await;

    // What a database would contain after an earlier mapping with mistakes.
    for mistake in [
        "UPDATE readings SET mapping_version = 0, value_num = value_num * 1000
         WHERE coding_id = (SELECT coding_id FROM codings WHERE code = '29463-7')",
        "DELETE FROM readings WHERE reading_id = (SELECT reading_id FROM readings WHERE topic_code = 0 ORDER BY measured_from DESC LIMIT 1)",
        "UPDATE readings SET mapping_version = 0, reading_id = gen_random_uuid()
         WHERE reading_id = (SELECT reading_id FROM readings WHERE topic_code = 3 ORDER BY measured_from LIMIT 1)",
        "UPDATE device_commands SET mapping_version = 0, name = 'Wrong'",
        "UPDATE outcomes SET mapping_version = 0, readings = readings + 1 WHERE topic = 'raw.healthkit'",
    ] {
        world.alter(mistake).await;
    }
    let wrong = world.text(&format!("{VALUES} attributed_readings")).await;
    assert_ne!(wrong, right);
    let before = world.text("SELECT clock_timestamp()::text").await;

    let (found, of_medisante) = world.replay(&["--provider", "medisante"]);
    assert!(found.is_different);
    assert_eq!(
        (&of_medisante["added"], &of_medisante["changed"], &of_medisante["commands"]),
        (&json!(1), &json!(1), &json!(1))
    );
    let (_, of_healthkit) = world.replay(&["--provider", "healthkit"]);
    let counts = ["added", "withdrawn", "outcomes"].map(|name| of_healthkit[name].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1], "{of_healthkit}");
    assert_eq!(world.text(&format!("{VALUES} attributed_readings")).await, wrong, "a comparison changes nothing");

    for report in [&of_medisante, &of_healthkit] {
        let (printed, succeeded) = world.apply(&report["replay"]);
        assert!(succeeded && printed.contains("applied"), "{printed}");
        // A second call has nothing to do.
        assert!(world.apply(&report["replay"]).1);
    }
    assert_eq!(world.text(&format!("{VALUES} attributed_readings")).await, right);
    assert_eq!(world.text(&format!("{VALUES} readings_as_of('{before}')")).await, wrong);
    assert_eq!(world.count("SELECT count(*) FROM all_readings WHERE withdrawn").await, 1);
    assert_eq!(world.text("SELECT name FROM devices").await, "Scale");
    world.assert_ledger(7 + 4 + 30).await;
    for provider in ["medisante", "healthkit"] {
        let (found, report) = world.replay(&["--provider", provider]);
        assert!(!found.is_different, "{report}");
    }
    let (listed, _) = world.command("replay", &["list"]);
    let states: Vec<&str> = listed.lines().filter_map(|line| line.split('\t').nth(2)?.split(' ').next()).collect();
    assert_eq!(states, ["applied", "applied", "compared", "compared"], "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_refused_when_the_database_has_changed_since_or_it_was_aborted() {
    let world = World::start().await;
    for second in 0..3 {
        world.client.post_medisante(&glucose(second)).await;
    }
    world.until_count("SELECT count(*) FROM readings", 3).await;
    world.assert_ledger(3).await;
    world.alter("UPDATE readings SET value_num = value_num * 1000").await;
    let (_, report) = world.replay(&["--provider", "medisante"]);
    assert_eq!(report["changed"], 3);
    world.alter("UPDATE readings SET value_num = 7 WHERE reading_id = (SELECT reading_id FROM readings LIMIT 1)").await;
    let bulk = world.topic("readings.bulk");
    let events = || (0..3).map(|partition| world.log_end(&bulk, partition)).sum::<i64>();
    assert_eq!(events(), 0);
    let (printed, succeeded) = world.apply(&report["replay"]);
    assert!(
        !succeeded && printed.contains("have changed in the database since the comparison (1 of them)"),
        "{printed}"
    );
    assert_eq!(events(), 0);

    let (_, report) = world.replay(&["--provider", "medisante"]);
    let number = report["replay"].to_string();
    let (printed, succeeded) = world.command("replay", &["abort", &number]);
    assert!(succeeded, "{printed}");
    let (printed, succeeded) = world.apply(&report["replay"]);
    assert!(!succeeded && printed.contains("was aborted"), "{printed}");
    let (printed, succeeded) = world.command("replay", &["abort", "99"]);
    assert!(!succeeded && printed.contains("there is no replay 99"), "{printed}");
}

/// A number that `make replay` sets.
fn from_environment(name: &str, otherwise: i64) -> i64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

/// Sends HealthKit samples at this rate until the task is aborted.
async fn send_live(client: IngressClient, per_second: i64) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let samples: Vec<Value> = (0..per_second / 10).map(|_| heart_rate("61")).collect();
        client.post("/health-data/healthkit/standard-json", &json!(samples)).await;
    }
}

/// A catalogue file that maps the weight of a scale for infants, whose unit `gramm` no built-in mapping knows, as this unit.
fn catalogue_of(revision: i32, unit: &str) -> String {
    format!(
        "revision = {revision}\n[[metric]]\nkey = \"body_weight\"\nspellings.medisante = [\"infantWeight\"]\n\
         [[unit]]\nucum = \"{unit}\"\nnames = [\"gramm\"]\n"
    )
}

/// A weight of 3.5 kg, as the scale for infants sends it.
fn infant_weight(measured: &str) -> Value {
    let mut message = glucose_of("infant-scale", measured);
    message["metadata"]["measurementType"] = json!("Weight");
    let measurements = message["measurements"].as_object_mut().unwrap();
    measurements.remove("glucose");
    measurements.insert("infantWeight".to_owned(), json!({ "value": 3500, "unit": "gramm" }));
    message
}

/// The mapping reads g as kg until its catalogue file is corrected. `make replay` runs it with 100,000 records, of which half are wrong,
/// beside 1,000 live readings per second.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_twice_under_live_traffic_repairs_exactly_the_wrong_readings() {
    let mut world = World::start().await;
    let [wrong_file, right_file, list] = ["wrong.toml", "right.toml", "diff.json"].map(|name| world.path(name));
    fs::write(&wrong_file, catalogue_of(1, "kg")).unwrap();
    fs::write(&right_file, catalogue_of(2, "g")).unwrap();
    world.restart_with(&wrong_file).await;
    let records = from_environment("REPLAY_RECORDS", 2_000);
    world.send_glucose_and_weights(records).await;
    world.until_count("SELECT count(*) FROM readings", records).await;
    world.assert_ledger(records).await;
    let wrong = "SELECT reading_id::text FROM all_readings WHERE code = '29463-7' AND value_num = 3500 AND unit = 'kg' ORDER BY 1";
    let wrong: Vec<String> = sqlx::query_scalar(wrong).fetch_all(&world.pool).await.unwrap();
    let wrong_readings = i64::try_from(wrong.len()).unwrap();
    assert_eq!(wrong_readings, records / 2);

    // The correction, as the page `docs/mapping-without-a-release.md` describes it. New readings are right from then on.
    world.restart_with(&right_file).await;
    world.client.post_medisante(&infant_weight(&second_after(records))).await;
    let right = "SELECT count(*) FROM attributed_readings WHERE device_id = 'infant-scale' AND value_num = 3.5 AND unit = 'kg' \
        AND flags = '{}'";
    world.until_count(right, 1).await;
    let before = world.text("SELECT clock_timestamp()::text").await;

    let live = tokio::spawn(send_live(world.client.clone(), from_environment("REPLAY_LIVE", 100)));
    let key = world.receipt_key_file();
    let progress = "SELECT coalesce(sum(next_offset - first_offset), 0)::bigint FROM replay_ranges WHERE pass = ";
    // Killed in the comparison, which continues.
    let mut compared = world.kafka_command("replay");
    let rate = (records / 4).to_string();
    compared.args(["--receipt-key-file", &key, "--provider", "medisante", "--records-per-second", &rate]);
    let mut compared = compared.env("DATABASE_URL", &world.database_url).stdout(Stdio::null()).spawn().unwrap();
    until("the comparison has begun", || async { world.count(&format!("{progress} 'compare'")).await > 0 }).await;
    compared.kill().unwrap();
    compared.wait().unwrap();
    let resume = ["--receipt-key-file", &key, "--resume", "1", "--report", list.to_str().unwrap(), "--json"];
    let (printed, _) = world.command("replay", &resume);
    let report: Value = serde_json::from_str(printed.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    assert_eq!((&report["added"], &report["withdrawn"], &report["outcomes"]), (&json!(0), &json!(0), &json!(0)));
    let list: Value = serde_json::from_str(&fs::read_to_string(list).unwrap()).unwrap();
    let changes = list["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["kind"] == "changed"));
    let mut listed: Vec<&str> = changes.iter().map(|change| change["id"].as_str().unwrap()).collect();
    listed.sort_unstable();
    assert!(listed == wrong, "{} readings are listed, {} are wrong", listed.len(), wrong.len());
    // Killed while it publishes, twice.
    for _ in 0..2 {
        let applied = world.count(&format!("{progress} 'apply'")).await;
        let mut apply = world.kafka_command("replay");
        let rate = (records / 5).to_string();
        apply.args(["--receipt-key-file", &key, "--apply", "1", "--records-per-second", &rate]);
        let mut apply = apply.env("DATABASE_URL", &world.database_url).stdout(Stdio::null()).spawn().unwrap();
        let goes_on = || async { world.count(&format!("{progress} 'apply'")).await > applied };
        until("the replay publishes", goes_on).await;
        apply.kill().unwrap();
        apply.wait().unwrap();
        assert_eq!(world.text("SELECT state FROM replays").await, "applying");
    }
    let (printed, succeeded) = world.apply(&json!(1));
    assert!(succeeded, "{printed}");
    live.abort();
    let delays = "SELECT percentile_disc(array[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY stored_at - received_at)::text FROM readings \
        WHERE topic_code = 1";
    println!("live readings to their row (median, p99, greatest): {}", world.text(delays).await);

    let wrong = wrong_readings;
    assert_eq!(world.count(right).await, wrong + 1);
    let known = format!(
        "SELECT count(*) FROM readings_as_of('{before}') WHERE device_id = 'infant-scale' AND value_num = 3500"
    );
    assert_eq!(world.count(&known).await, wrong);
    assert_eq!(world.count("SELECT count(*) FROM reading_history").await, wrong, "each reading was changed once");
    for (repaired, expected) in [("replay = 1", wrong), ("topic_code = 0 AND catalogue_revision = 2", wrong + 1)] {
        assert_eq!(
            world.count(&format!("SELECT count(*) FROM readings WHERE {repaired}")).await,
            expected,
            "{repaired}"
        );
    }
    world.assert_ledger(records + 1).await;
    let (found, report) = world.replay(&["--provider", "medisante"]);
    assert!(!found.is_different, "{report}");
}

/// A time in 2025, by the number of seconds after its start.
fn second_after(seconds: i64) -> String {
    let start = time::OffsetDateTime::from_unix_timestamp(1_735_689_600 + seconds).unwrap();
    start.format(&time::format_description::well_known::Rfc3339).unwrap()
}

impl World {
    /// Sends as many glucose readings as weights, several at a time.
    async fn send_glucose_and_weights(&self, readings: i64) {
        let mut tasks = tokio::task::JoinSet::new();
        for sender in 0..8 {
            let client = self.client.clone();
            tasks.spawn(async move {
                for number in (sender..readings).step_by(8) {
                    let measured = second_after(number);
                    let is_weight = number % 2 == 0;
                    let message = if is_weight { infant_weight(&measured) } else { glucose_of("meter", &measured) };
                    client.post_medisante(&message).await;
                }
            });
        }
        while let Some(sent) = tasks.join_next().await {
            sent.unwrap();
        }
    }
}
