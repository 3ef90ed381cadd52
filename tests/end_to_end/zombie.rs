//! A sink that is frozen in the middle of a batch, and continues later.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    payload::heart_rate,
    world::{Stage, WITHIN, World},
};

const READINGS: &str = "SELECT count(*) FROM readings";
const COPIES: &str = "SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY %'";
const SAMPLES: i64 = 2_000;

/// Freezes the sink while Postgres waits for more rows of its COPY.
async fn freeze_in_its_copy(world: &World) {
    let deadline = Instant::now() + WITHIN;
    loop {
        assert!(Instant::now() < deadline, "no COPY of the sink was seen");
        if world.count(COPIES).await == 0 {
            continue;
        }
        world.freeze((Stage::Sink, 0));
        // By now Postgres has received the rows that were in transit. A COPY that is still active waits for the frozen sink.
        tokio::time::sleep(Duration::from_millis(200)).await;
        if world.count(COPIES).await > 0 {
            return;
        }
        world.thaw((Stage::Sink, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_frozen_during_its_copy_is_replaced_and_does_no_harm_when_it_continues() {
    let mut world = World::start().await;
    world.until_ready((Stage::Sink, 0)).await;
    let client = world.client.clone();
    let bodies = 30_i64;
    let sending = tokio::spawn(async move {
        for body in 0..bodies {
            let samples: Vec<_> = (0..SAMPLES).map(|number| heart_rate(body * SAMPLES + number)).collect();
            client.post("/health-data/healthkit/standard-json", &json!(samples)).await;
        }
    });
    freeze_in_its_copy(&world).await;
    let (before, since) = (world.count(READINGS).await, Instant::now());
    world.run_member((Stage::Sink, 1));
    while world.count(READINGS).await == before {
        assert!(since.elapsed() < Duration::from_secs(30), "no rows appeared while a sink was frozen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("rows appeared after {:.1?}", since.elapsed());
    world.thaw((Stage::Sink, 0));
    sending.await.unwrap();
    world.until_count(READINGS, bodies * SAMPLES).await;
    world.assert_ledger(bodies * SAMPLES).await;
    world.until_ready((Stage::Sink, 0)).await;
    assert_eq!(world.count("SELECT count(*) FROM reading_duplicates").await, 0);
}
