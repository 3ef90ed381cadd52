//! Postgres is away while senders go on.
//!
//! `make test` runs it for some seconds; `make outage` for five minutes at 2,000 payloads per second, on the release build.
//! `OUTAGE_SECONDS` is the duration, `OUTAGE_RATE` the number of payloads per second.

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    payload::glucose,
    world::{Stage, World},
};

const STAGES: [Stage; 3] = [Stage::Ingress, Stage::Normalizer, Stage::Sink];
const READINGS: &str = "SELECT count(*) FROM readings";
const SENDERS: u32 = 16;
/// The limit of the resident memory of each stage, in KiB: the same as beside hostile senders.
const RESIDENT_KIB_MAX: u64 = 150 * 1024;
/// How much more memory a stage may need in the second half of the outage than in the first, in KiB.
const GROWTH_KIB_MAX: u64 = 8 * 1024;

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

impl World {
    /// Sends `rate` payloads per second for some time; the first has the number `first`. Returns how many were accepted.
    async fn send_at(&self, rate: u32, lasts: Duration, first: i64) -> i64 {
        let mut senders = JoinSet::new();
        let end = Instant::now() + lasts;
        for sender in 0..SENDERS {
            let client = self.client.clone();
            senders.spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_secs(1) * SENDERS / rate);
                tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
                let mut numbers = (first + i64::from(sender)..).step_by(SENDERS as usize);
                let mut sent = 0;
                while Instant::now() < end {
                    tick.tick().await;
                    client.post_medisante(&glucose(numbers.next().unwrap())).await;
                    sent += 1;
                }
                sent
            });
        }
        senders.join_all().await.into_iter().sum()
    }

    fn resident_kib(&self) -> [u64; 3] {
        STAGES.map(|stage| self.resident_kib_max((stage, 0)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_and_nothing_is_lost_while_postgres_is_away_under_load() {
    let world = World::start().await;
    let (seconds, rate) = (setting("OUTAGE_SECONDS", 16), setting("OUTAGE_RATE", 200));
    let half = Duration::from_secs(u64::from(seconds)) / 2;
    let mut sent = world.send_at(rate, Duration::from_secs(4), 0).await;
    world.until_count(READINGS, sent).await;

    world.embedded.stop_postgres().await;
    sent += world.send_at(rate, half, 10_000_000).await;
    let middle = world.resident_kib();
    sent += world.send_at(rate, half, 20_000_000).await;
    let end = world.resident_kib();
    let (is_ready, said) = world.ready((Stage::Sink, 0)).await.unwrap();
    assert!(!is_ready && said.contains("Postgres cannot be reached"), "{said}");
    world.embedded.start_postgres().await.unwrap();

    let back = Instant::now();
    world.until_count(READINGS, sent).await;
    let caught_up = back.elapsed();
    world.assert_ledger(sent).await;
    assert_eq!(world.count("SELECT count(DISTINCT measured_from) FROM readings").await, sent);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);
    println!("{sent} payloads, Postgres away for {seconds} s; everything stored {caught_up:.1?} after its return");
    for (index, stage) in STAGES.into_iter().enumerate() {
        let after = world.resident_kib_max((stage, 0));
        println!(
            "{stage:?}: {} KiB at half of the outage, {} at its end, {after} afterwards",
            middle[index], end[index]
        );
        assert!(end[index] <= middle[index] + GROWTH_KIB_MAX, "the memory of the {stage:?} grows during the outage");
        assert!(after < RESIDENT_KIB_MAX, "the {stage:?} needs {after} KiB");
    }
}
