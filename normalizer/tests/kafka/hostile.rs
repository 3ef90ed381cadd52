//! The cost of small hostile bodies.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use schemas::{format::RawTopic, rejection::Reason};

use crate::world::{World, standard_json};

const MIB: u64 = 1024 * 1024;

/// Twenty bodies of a hundred thousand items each, all refused; each is a few hundred bytes when compressed. Where consecutive
/// reasons differ, each item has a dead letter of its own.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_bodies_of_refused_items_use_little_memory() {
    let world = World::new(1).await;
    let same = format!("[{}]", vec!["0"; 100_000].join(","));
    let turns = format!("[{}]", vec!["0,{}"; 5_000].join(","));
    for body in [&same, &turns] {
        for _one in 0..20 {
            world.put(RawTopic::HealthKit, 0, &standard_json(), Some(body.as_bytes())).await;
        }
    }
    world.sample(0, 1).await;
    let (before, done) = (resident(), AtomicBool::new(false));
    let mut most = 0;
    let (watch, work) = (
        async {
            while !done.load(Ordering::Relaxed) {
                most = most.max(resident());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        },
        async {
            let running = world.start();
            world.until(&[&running], &world.topics.readings(), 1).await;
            running.stop().await;
            done.store(true, Ordering::Relaxed);
        },
    );
    tokio::join!(watch, work);
    let more = most.saturating_sub(before);
    assert!(more < 100 * MIB, "{} MiB more than the {} MiB before", more / MIB, before / MIB);

    assert_eq!(world.count(&world.topics.dead_letters()), 20 + 20 * 10_000);
    let letters = world.letters();
    let runs: Vec<_> = letters.iter().filter(|letter| letter.item_count > 1).collect();
    assert_eq!(runs.len(), 20);
    for run in runs {
        assert_eq!((run.item, run.item_count, run.value.len()), (Some(0), 100_000, 0));
        assert_eq!(run.reason, Reason::UnexpectedShape);
    }
    let outcomes = world.outcomes();
    let refused: i64 = outcomes.iter().map(|outcome| i64::from(outcome.rejections)).sum();
    assert_eq!(refused, letters.iter().map(|letter| i64::from(letter.item_count)).sum::<i64>());
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}
