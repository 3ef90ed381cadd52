//! Two releases side by side. The next release is this tree with `tests/skew/next-release.patch`, built by `tests/skew/run`: its
//! readings have an additional status, its outcomes an additional field, and its tables an additional migration.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use store::migrate::SCHEMA_VERSION;

use crate::{
    payload::weight_of,
    world::{BINARY, Stage, World, until},
};

const OLD_SINK: (Stage, usize) = (Stage::Sink, 0);
const NEXT_SINK: (Stage, usize) = (Stage::Sink, 1);
const NORMALIZER: (Stage, usize) = (Stage::Normalizer, 0);
const READINGS: &str = "SELECT count(*) FROM readings";
const STOPS_WITHIN: Duration = Duration::from_secs(30);

fn next_release() -> PathBuf {
    std::env::var_os("NEXT_RELEASE")
        .expect("NEXT_RELEASE must be the binary of the next release; run `make skew`")
        .into()
}

/// Sends weights of many devices, so that every partition has some, with each status in turn.
async fn send(world: &World, numbers: Range<u32>, statuses: &[&str]) {
    for (number, status) in numbers.zip(statuses.iter().cycle()) {
        let weight = weight_of(&format!("scale-{number}"), &format!("w-{number}"), status, 80.0);
        world.client.post("/health-data/medisante/fhir-json", &weight).await;
    }
}

async fn until_degraded(world: &World, topic: &str, why: &str) {
    until("the sink reports the event that it is too old for", || async {
        world.ready(OLD_SINK).await.is_some_and(|(is_ready, said)| {
            is_ready && said.contains("degraded") && said.contains(&format!("{topic} partition ")) && said.contains(why)
        })
    })
    .await;
}

fn records(world: &World, topic: &str) -> i64 {
    (0..3).map(|partition| world.log_end(&world.topic(topic), partition)).sum()
}

async fn assert_no_dead_letter(world: &World) {
    assert_eq!(records(world, "dead-letters"), 0);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the next release; run `make skew`"]
async fn a_sink_that_is_older_than_the_events_waits_and_its_successor_stores_all() {
    let mut world = World::start().await;
    world.until_ready(OLD_SINK).await;
    assert!(world.terminate(NORMALIZER, STOPS_WITHIN).await);
    world.run_build(NORMALIZER, &next_release(), &[]);

    // An unknown field blocks the outcomes. The schema of the readings is new too, but these readings contain only known symbols.
    send(&world, 0..10, &["final"]).await;
    let (readings, outcomes) = (world.topic("readings"), world.topic("outcomes"));
    until_degraded(&world, &outcomes, "it does not know its field Outcome.mapped_by").await;
    world.until_count(READINGS, 10).await;
    // An unknown symbol blocks its partition.
    send(&world, 10..30, &["appended", "final"]).await;
    until_degraded(&world, &readings, "this release cannot read a message of the schema ").await;
    for topic in [&readings, &outcomes] {
        let blocked = format!("device_manager_sink_partitions_blocked{{topic=\"{topic}\"}} ");
        let metrics = world.metrics(OLD_SINK).await;
        let count = metrics.lines().find_map(|line| line.strip_prefix(&blocked)).unwrap();
        assert!(count.parse::<u32>().unwrap() > 0, "{topic}");
    }
    until("all readings are on their topic", || async { records(&world, "readings") == 30 }).await;
    assert!(world.count(READINGS).await < 30);
    assert_no_dead_letter(&world).await;

    // The tables are migrated while the old sink owns partitions.
    world.run_build(NEXT_SINK, &next_release(), &["--migrate"]);
    world.until_count("SELECT version::bigint FROM schema_version", i64::from(SCHEMA_VERSION) + 1).await;
    assert!(world.terminate(OLD_SINK, STOPS_WITHIN).await);
    world.until_count(READINGS, 30).await;
    assert_eq!(world.count("SELECT count(*) FROM readings WHERE status::text = 'appended'").await, 10);
    world.assert_ledger(30).await;
    assert_no_dead_letter(&world).await;
    world.until_ready(NEXT_SINK).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the next release; run `make skew`"]
async fn a_sink_that_is_newer_than_the_tables_waits_for_the_migration() {
    let mut world = World::start().await;
    send(&world, 0..3, &["final"]).await;
    world.until_count(READINGS, 3).await;
    for member in [OLD_SINK, NORMALIZER] {
        assert!(world.terminate(member, STOPS_WITHIN).await);
    }
    world.run_build(NORMALIZER, &next_release(), &[]);
    world.run_build(NEXT_SINK, &next_release(), &[]);
    send(&world, 3..30, &["final", "appended", "amended"]).await;
    until("the sink reports that the tables are too old", || async {
        world.ready(NEXT_SINK).await.is_some_and(|(is_ready, said)| {
            !is_ready
                && said.contains(&format!("the tables are those of version {SCHEMA_VERSION}"))
                && said.contains("--migrate")
        })
    })
    .await;
    until("all readings are on their topic", || async { records(&world, "readings") == 30 }).await;
    assert_eq!(world.count(READINGS).await, 3);

    let migrating = (Stage::Sink, 2);
    world.run_build(migrating, &next_release(), &["--migrate"]);
    world.until_count(READINGS, 30).await;
    assert_eq!(world.count("SELECT count(*) FROM readings WHERE status::text = 'appended'").await, 9);
    world.assert_ledger(30).await;
    world.until_ready(NEXT_SINK).await;

    // `compatible_from` of the next tables allows this release, which therefore writes its own events to them.
    for member in [NEXT_SINK, migrating, NORMALIZER] {
        assert!(world.terminate(member, STOPS_WITHIN).await);
    }
    world.run(Stage::Normalizer);
    world.run_build(OLD_SINK, Path::new(BINARY), &[]);
    send(&world, 30..40, &["final"]).await;
    world.until_count(READINGS, 40).await;
    // If the tables did not allow it, the sink would wait.
    sqlx::query("UPDATE schema_version SET compatible_from = version").execute(&world.pool).await.unwrap();
    send(&world, 40..45, &["final"]).await;
    until("the sink asks to be upgraded", || async {
        world.ready(OLD_SINK).await.is_some_and(|(is_ready, said)| !is_ready && said.contains("upgrade this sink"))
    })
    .await;
    assert_eq!(world.count(READINGS).await, 40);
    world.kill_member(OLD_SINK);
    world.run_build(NEXT_SINK, &next_release(), &[]);
    world.until_count(READINGS, 45).await;
    world.assert_ledger(45).await;
    assert_no_dead_letter(&world).await;
}
