//! Deleted records and recreated topics.

use std::time::{Duration, Instant};

use rdkafka::{Offset, TopicPartitionList, admin::AdminOptions};
use schemas::format::RawTopic;

use crate::world::{Running, World, start};

/// A stuck partition is checked again within 15 s, and Kafka was frozen just before.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

async fn delete_before(world: &World, topic: RawTopic, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&world.topics.raw(topic), partition, Offset::Offset(offset)).unwrap();
    world.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
}

/// Maps three records in each of two partitions, and stops.
async fn mapped(world: &World) {
    let running = world.start();
    world.samples(2, 0, 6).await;
    world.until(&[&running], &world.topics.readings(), 6).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_not_skipped() {
    let world = World::new(2).await;
    mapped(&world).await;
    for number in 6..12 {
        world.sample(0, number).await;
    }
    delete_before(&world, RawTopic::HealthKit, 0, 5).await;
    let running = world.start();
    let raw = world.topics.raw(RawTopic::HealthKit);
    running.until_told(&[&format!("{raw} partition 0 begins at offset 5, but 3 is the next"), "TOPIC_EPOCH"]).await;
    // The other partition is read further, and the stage stays ready.
    world.sample(1, 13).await;
    world.until(&[&running], &world.topics.readings(), 7).await;
    assert!(running.state().waiting.is_none(), "{:?}", running.state());
    running.stop().await;
    assert!(world.readings().iter().all(|one| one.provenance.partition == 1 || one.provenance.offset < 3));
}

/// Kafka deletes the offsets of a group together with the topic, but a cluster that is restored from copies may have kept them.
async fn recreated(records: u32, are_offsets_kept: bool) {
    let world = World::new(2).await;
    mapped(&world).await;
    let committed = world.committed(RawTopic::HealthKit, 0).unwrap();
    assert_eq!(committed.0, 3);
    world.make_anew(RawTopic::HealthKit, 2).await;
    if are_offsets_kept {
        world.commit(RawTopic::HealthKit, 0, committed);
    }
    for number in 100..100 + records {
        world.sample(0, number).await;
    }
    let running = world.start();
    until_partition_0_is_reported(&world, &running).await;
    running.stop().await;
    assert_eq!(world.count(&world.topics.readings()), 6);

    // Follows the advice: the epoch is raised.
    let mut config = world.config();
    config.topic_epoch = 1;
    let running = start(config.clone());
    world.until(&[&running], &world.topics.readings(), 6 + i64::from(records)).await;
    running.until("ready and whole", |state| state.waiting.is_none() && state.degraded.is_none()).await;
    world.sample(1, 99).await;
    world.until(&[&running], &world.topics.readings(), 7 + i64::from(records)).await;
    running.stop().await;
    let offsets = |epoch| {
        let mut offsets: Vec<_> = world
            .readings()
            .iter()
            .filter(|one| one.provenance.topic_epoch == epoch && one.provenance.partition == 0)
            .map(|one| one.provenance.offset)
            .collect();
        offsets.sort_unstable();
        offsets
    };
    assert_eq!(offsets(0), [0, 1, 2]);
    assert_eq!(offsets(1), (0..i64::from(records)).collect::<Vec<_>>());

    // After the next start, the topic is not treated as recreated again.
    let running = start(config);
    world.sample(0, 98).await;
    world.until(&[&running], &world.topics.readings(), 8 + i64::from(records)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_which_an_operator_deleted_the_offsets_is_mapped_again() {
    let world = World::new(2).await;
    mapped(&world).await;
    let group = world.config().group;
    let deleted = world.admin().delete_groups(&[&group], &AdminOptions::new()).await.unwrap();
    deleted[0].as_ref().unwrap();
    let running = world.start();
    world.until(&[&running], &world.topics.readings(), 12).await;
    running.until("ready and whole", |state| state.waiting.is_none() && state.degraded.is_none()).await;
    running.stop().await;
}

async fn until_partition_0_is_reported(world: &World, running: &Running) {
    let raw = world.topics.raw(RawTopic::HealthKit);
    let told = format!("{raw} partition 0 is not the log that was mapped up to offset 3");
    running.until_told(&[&told, "raise TOPIC_EPOCH"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_noticed() {
    recreated(2, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_noticed_when_it_is_longer_than_the_old_one() {
    recreated(9, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_noticed_if_the_offsets_were_kept() {
    recreated(2, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_longer_than_the_old_one_is_noticed_if_the_offsets_were_kept() {
    recreated(9, true).await;
}

/// Recreates the topic while its records are awaited.
async fn recreated_under_a_running_stage(records: u32) {
    let world = World::new(1).await;
    let running = world.start();
    world.samples(1, 0, 6).await;
    world.until(&[&running], &world.topics.readings(), 6).await;
    world.make_anew(RawTopic::HealthKit, 1).await;
    for number in 100..100 + records {
        world.sample(0, number).await;
    }
    let raw = world.topics.raw(RawTopic::HealthKit);
    running.until_told(&[&format!("{raw} partition 0 is not the log that was mapped up to offset 6")]).await;
    running.stop().await;
    assert_eq!(world.count(&world.topics.readings()), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_recreated_under_a_running_stage_is_noticed() {
    recreated_under_a_running_stage(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_recreated_under_a_running_stage_is_noticed_when_it_is_as_long_as_the_old_one() {
    recreated_under_a_running_stage(6).await;
}

/// Recreates the topic directly after an outage. The client may miss that the topic was deleted and report no error.
async fn recreated_after_an_outage(records: u32, mapped_until: &str) {
    let world = World::alone(1).await;
    let mut config = world.config();
    config.kafka.properties.insert("group.protocol".to_owned(), "classic".to_owned());
    let running = start(config);
    world.samples(1, 0, 6).await;
    world.until(&[&running], &world.topics.readings(), 6).await;
    // Offsets that are not committed before the outage would cause records to be mapped again after it. Kafka deletes them with the
    // topic, and then the copy of the mark counts, which is committed asynchronously.
    let is_committed = || {
        world.committed(RawTopic::HealthKit, 0).is_some_and(|(offset, _)| offset == 6)
            && world.copied_healthkit_mark(0) == Some(6)
    };
    running.until("committed", |_| is_committed()).await;
    let frozen = world.freeze().await;
    running.until("waiting", |state| state.waiting.is_some()).await;
    drop(frozen);
    world.make_anew(RawTopic::HealthKit, 1).await;
    for number in 100..100 + records {
        world.sample(0, number).await;
    }
    let raw = world.topics.raw(RawTopic::HealthKit);
    let told = format!("{raw} partition 0 is not the log that was mapped up to offset {mapped_until}");
    let since = Instant::now();
    running.until_told(&[&told, "raise TOPIC_EPOCH"]).await;
    assert!(since.elapsed() < TOLD_WITHIN, "reported after {:?}", since.elapsed());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_recreated_after_an_outage_is_noticed() {
    recreated_after_an_outage(1, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_recreated_after_an_outage_is_noticed_when_it_is_longer_than_the_old_one() {
    recreated_after_an_outage(9, "").await;
}

/// A known issue, see ARCHITECTURE.md: in about every second run, the stage maps one or two records of the new log before it notices.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a known issue: the first records of a topic recreated during an outage may be mapped with the old epoch"]
async fn a_topic_recreated_after_an_outage_is_noticed_before_a_record_of_it_is_mapped() {
    recreated_after_an_outage(9, "6").await;
}
