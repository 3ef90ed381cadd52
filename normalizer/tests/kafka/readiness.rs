//! What `/ready` reports when nothing makes progress.

use std::time::{Duration, Instant};

use normalizer::NormalizerConfig;
use schemas::{format::RawTopic, topic::Topics};

use crate::world::{World, start};

/// The time limit that an orchestrator may rely on.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_kafka_and_its_return_are_reported_in_time() {
    let world = World::alone(2).await;
    let running = world.start();
    world.samples(2, 0, 4).await;
    world.until(&[&running], &world.topics.readings(), 4).await;
    running.until_ready().await;

    let (frozen, since) = (world.freeze().await, Instant::now());
    running.until("waiting", |state| state.waiting.is_some()).await;
    assert!(since.elapsed() < TOLD_WITHIN, "reported after {:?}", since.elapsed());
    drop(frozen);
    let since = Instant::now();
    running.until_ready().await;
    assert!(since.elapsed() < TOLD_WITHIN, "ready again after {:?}", since.elapsed());
    world.samples(2, 4, 8).await;
    world.until(&[&running], &world.topics.readings(), 8).await;
    running.stop().await;
}

/// Members without a partition are as ready as the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_partition_is_ready() {
    let world = World::new(1).await;
    let members: Vec<_> = (0..5).map(|_| world.start()).collect();
    let mut sent = 0;
    let until = Instant::now() + TOLD_WITHIN;
    while Instant::now() < until {
        world.sample(0, sent).await;
        sent += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for member in &members {
        assert!(member.state().waiting.is_none(), "{:?}", member.state());
    }
    for member in members {
        member.stop().await;
    }
}

/// A prefix that is mistyped, or `topics apply` that was forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_starts_before_its_topics_exist_names_a_missing_one() {
    let world = World::new(1).await;
    let topics = Topics::new("mistyped.");
    let running = start(NormalizerConfig { topics: topics.clone(), ..world.config() });
    let expected = format!("the topic {} does not exist: run `device-manager topics apply`", topics.schemas());
    running.until(&expected, |state| state.waiting.as_deref().is_some_and(|waiting| waiting.contains(&expected))).await;
    running.stop().await;
}

/// Deletes topics of a stage that owns partitions of all topics.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_reported_by_the_member_that_owned_it() {
    let world = World::new(2).await;
    let running = world.start();
    world.samples(2, 0, 4).await;
    world.until(&[&running], &world.topics.readings(), 4).await;
    running.until_ready().await;
    for (topic, is_ready) in [(RawTopic::HealthKit, true), (RawTopic::Uploads, false)] {
        let name = world.topics.raw(topic);
        world.delete(topic).await;
        let since = Instant::now();
        let told = format!("the topic {name} does not exist: run `device-manager topics apply`");
        running
            .until(&format!("told {told}"), |state| {
                let said = if is_ready { &state.degraded } else { &state.waiting };
                said.as_deref().is_some_and(|said| said.contains(&told))
            })
            .await;
        assert!(since.elapsed() < TOLD_WITHIN, "{name} is reported after {:?}", since.elapsed());
    }
    running.stop().await;
}
