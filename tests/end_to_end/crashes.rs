//! Repeated deliveries and killed processes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
};

use crate::{
    payload::glucose,
    world::{IngressClient, Stage, World, until},
};

const READINGS: &str = "SELECT count(*) FROM readings";

#[tokio::test(flavor = "multi_thread")]
async fn the_same_post_ten_times_is_one_row() {
    let world = World::start().await;
    let body = glucose(1);
    for _ in 0..10 {
        world.client.post_medisante(&body).await;
    }
    world.until_count("SELECT coalesce(sum(promised_readings), 0)::bigint FROM ledger", 10).await;
    world.until_count("SELECT count(*) FROM reading_duplicates", 9).await;
    assert_eq!(world.count(READINGS).await, 1);
    world.assert_ledger(10).await;
}

/// `E2E_ROUNDS` is how often each stage is killed: three times in CI, twenty by hand.
#[tokio::test(flavor = "multi_thread")]
async fn stages_killed_in_turn_lose_and_duplicate_nothing() {
    let rounds = std::env::var("E2E_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let mut world = World::start().await;
    let (acknowledged, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let sending = tokio::spawn(send(world.client.clone(), acknowledged.clone(), stop.clone()));
    for _ in 0..rounds {
        for stage in [Stage::Ingress, Stage::Normalizer, Stage::Sink] {
            // Kills the stage under load. Everything that was acknowledged before must be stored afterwards.
            let before = acknowledged.load(Relaxed);
            until("more is acknowledged", || async { acknowledged.load(Relaxed) > before + 20 }).await;
            world.kill(stage);
            let owed = acknowledged.load(Relaxed);
            world.run(stage);
            until("the acknowledged readings are stored", || async { world.count(READINGS).await >= owed }).await;
        }
    }
    stop.store(true, Relaxed);
    sending.await.unwrap();

    let sent = acknowledged.load(Relaxed);
    world.until_count(READINGS, sent).await;
    world.assert_ledger(sent).await;
    // Each reading was measured at a different second, so the number of distinct seconds is the number of readings sent.
    assert_eq!(world.count("SELECT count(DISTINCT measured_from) FROM readings").await, sent);
    assert_eq!(world.count(READINGS).await, sent);
}

/// Sends distinct readings until `stop`, each repeated until it is acknowledged. `acknowledged` counts them.
async fn send(client: IngressClient, acknowledged: Arc<AtomicI64>, stop: Arc<AtomicBool>) {
    while !stop.load(Relaxed) {
        client.post_medisante(&glucose(acknowledged.load(Relaxed))).await;
        acknowledged.fetch_add(1, Relaxed);
    }
}
