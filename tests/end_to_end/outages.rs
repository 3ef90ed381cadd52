//! Kafka or Postgres is unavailable, or restored from an older dump.

use std::{fs::File, process::Command, time::Duration};

use reqwest::{StatusCode, header::RETRY_AFTER};
use sqlx::PgPool;
use tests::{create_database, postgres_program};

use crate::{
    payload::glucose,
    world::{Stage, World, until},
};

const READINGS: &str = "SELECT count(*) FROM readings";

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_written_again_after_an_older_dump_is_restored() {
    let mut world = World::start().await;
    for number in 0..10 {
        world.client.post_medisante(&glucose(number)).await;
    }
    world.until_count(READINGS, 10).await;
    let dump = world.path("dump.sql");
    let mut pg_dump = Command::new(postgres_program("pg_dump"));
    assert!(pg_dump.arg(&world.database_url).stdout(File::create(&dump).unwrap()).status().unwrap().success());

    for number in 10..20 {
        world.client.post_medisante(&glucose(number)).await;
    }
    world.until_count(READINGS, 20).await;
    world.kill(Stage::Sink);
    let name = format!("restored_{}", uuid::Uuid::new_v4().simple());
    world.database_url = create_database(world.embedded, &name).await;
    world.pool = PgPool::connect(&world.database_url).await.unwrap();
    let mut psql = Command::new(postgres_program("psql"));
    psql.args(["--quiet", "--set", "ON_ERROR_STOP=1"]).arg(&world.database_url).stdin(File::open(&dump).unwrap());
    assert!(psql.output().unwrap().status.success());
    assert_eq!(world.count(READINGS).await, 10);

    world.run(Stage::Sink);
    world.until_count(READINGS, 20).await;
    world.assert_ledger(20).await;
    assert_eq!(world.count("SELECT count(DISTINCT measured_from) FROM readings").await, 20);
    assert_eq!(world.count("SELECT count(*) FROM reading_duplicates").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_survive_an_outage_of_kafka_and_of_postgres() {
    let world = World::start().await;
    world.client.post_medisante(&glucose(0)).await;
    world.until_count(READINGS, 1).await;

    world.embedded.stop_kafka().await;
    let held_up = glucose(1);
    let answer = world.client.try_post_medisante(&held_up).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(RETRY_AFTER));
    world.embedded.start_kafka().await.unwrap();
    world.client.post_medisante(&held_up).await;
    world.until_count(READINGS, 2).await;

    world.embedded.stop_postgres().await;
    for number in 2..12 {
        world.client.post_medisante(&glucose(number)).await;
    }
    world.embedded.start_postgres().await.unwrap();
    world.until_count(READINGS, 12).await;
    world.until_count("SELECT count(DISTINCT measured_from) FROM readings", 12).await;
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);
    world.assert_ledger(12).await;
    let logs = world.logs();
    assert!(logs.contains("the stage waits") && logs.contains("the stage works again"), "{logs}");
    for misleading in [".cargo", "rdkafka-0", "security.protocol", "api.version.request"] {
        let found = logs.lines().find(|line| line.contains(misleading));
        assert!(found.is_none(), "{misleading}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_shut_down_while_kafka_is_down() {
    let mut world = World::start().await;
    world.client.post_medisante(&glucose(0)).await;
    world.until_count(READINGS, 1).await;
    world.embedded.stop_kafka().await;
    let mut late = Vec::new();
    for stage in [Stage::Sink, Stage::Normalizer, Stage::Ingress] {
        if !world.terminate((stage, 0), Duration::from_secs(15)).await {
            late.push(stage);
        }
    }
    // The other tests need Kafka, whatever the result.
    world.embedded.start_kafka().await.unwrap();
    assert!(late.is_empty(), "still running after 15 s: {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_wait_for_a_database_that_is_down() {
    let mut world = World::start().await;
    world.kill(Stage::Sink);
    let name = format!("late_{}", uuid::Uuid::new_v4().simple());
    world.database_url = create_database(world.embedded, &name).await;
    world.pool = PgPool::connect_lazy(&world.database_url).unwrap();
    world.embedded.stop_postgres().await;

    world.run(Stage::Sink);
    let sink = (Stage::Sink, 0);
    let waits = "Postgres cannot be reached: Connection refused";
    until("the sink reports what it waits for", || async {
        world.ready(sink).await.is_some_and(|(is_ready, said)| !is_ready && said.contains(waits))
    })
    .await;
    world.embedded.start_postgres().await.unwrap();
    world.until_ready(sink).await;
    world.client.post_medisante(&glucose(0)).await;
    world.until_count(READINGS, 1).await;
    let log = std::fs::read_to_string(world.path("sink.log")).unwrap();
    assert!(log.contains("the stage waits") && log.contains("the stage works again"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_starts_on_a_read_only_database_works_once_it_is_writable() {
    let mut world = World::start().await;
    world.kill(Stage::Sink);
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&world.pool).await.unwrap();
    let mut session = world.pool.acquire().await.unwrap();
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    sqlx::query(&read_only).execute(&mut *session).await.unwrap();
    world.run(Stage::Sink);
    let sink = (Stage::Sink, 0);
    until("the sink reports that the database is read-only", || async {
        world.ready(sink).await.is_some_and(|(is_ready, said)| !is_ready && said.contains("the database is read-only"))
    })
    .await;
    let writable = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    sqlx::query(&writable).execute(&mut *session).await.unwrap();
    world.until_ready(sink).await;
    world.client.post_medisante(&glucose(0)).await;
    world.until_count(READINGS, 1).await;
}

/// Kafka answers when the stages begin to leave their groups, and then no more.
#[tokio::test(flavor = "multi_thread")]
async fn stages_shut_down_although_kafka_goes_away_while_they_leave_their_groups() {
    const LEAVES: Duration = Duration::from_secs(3);
    let mut world = World::start().await;
    let pause = format!("sleep({})", LEAVES.as_millis());
    world.set_variable("FAILPOINTS", &format!("sink-leaves={pause};normalizer-leaves={pause}"));
    for stage in [Stage::Sink, Stage::Normalizer] {
        world.kill(stage);
        world.run(stage);
    }
    world.client.post_medisante(&glucose(0)).await;
    world.until_count(READINGS, 1).await;
    let embedded = world.embedded;
    let mut late = Vec::new();
    for stage in [Stage::Sink, Stage::Normalizer] {
        let freeze = async {
            // The stage has asked Kafka by then, and waits at the step.
            tokio::time::sleep(LEAVES / 2).await;
            embedded.pause_kafka();
        };
        let (is_in_time, ()) = tokio::join!(world.terminate((stage, 0), LEAVES + Duration::from_secs(12)), freeze);
        // The next stage, and the other tests, need Kafka.
        embedded.resume_kafka();
        if !is_in_time {
            late.push(stage);
        }
    }
    assert!(late.is_empty(), "still running after 15 s: {late:?}");
}
