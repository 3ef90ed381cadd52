//! Partitions that wait for an operator, and the operator's commands.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};

use crate::{
    payload::{START, glucose_of, text},
    world::{Stage, World, until},
};

const READINGS: &str = "SELECT count(*) FROM readings";
const SINK: (Stage, usize) = (Stage::Sink, 0);

/// Sends readings of many devices, so that every partition has some.
async fn send(world: &World, from: i64, to: i64) {
    for number in from..to {
        let device = format!("3500000000{:05}", number % 24);
        world.client.post_medisante(&glucose_of(&device, &text(START + time::Duration::seconds(number)))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_record_blocks_its_partition_until_an_operator_skips_it() {
    let world = World::start().await;
    send(&world, 0, 24).await;
    world.until_count(READINGS, 24).await;
    world.until_ready(SINK).await;

    let producer: FutureProducer = world.kafka_settings().producer().create().unwrap();
    let topic = world.topic("readings");
    let record = FutureRecord::<str, _>::to(&topic).partition(1).payload(b"0123456789");
    let placed = producer.send(record, Duration::from_secs(10)).await.unwrap();
    let (offset, waits) = (placed.offset, format!("{topic} partition 1 waits at offset {}", placed.offset));
    until("the sink reports the record that it waits at", || async {
        world.ready(SINK).await.is_some_and(|(is_ready, said)| is_ready && said.contains(&waits))
    })
    .await;
    let blocked = |count: u32| format!("device_manager_sink_partitions_blocked{{topic=\"{topic}\"}} {count}");
    assert!(world.metrics(SINK).await.lines().any(|line| line == blocked(1)));

    // The other partitions continue, and nothing after the record is read.
    send(&world, 24, 72).await;
    let behind = format!("SELECT next_offset FROM sink_offsets WHERE topic = '{topic}' AND partition = 1");
    let others =
        format!("SELECT sum(next_offset)::bigint FROM sink_offsets WHERE topic = '{topic}' AND partition <> 1");
    let before = world.count(READINGS).await;
    until("the other partitions continue", || async {
        world.count(&others).await + offset == world.count(READINGS).await && world.count(READINGS).await > before
    })
    .await;
    assert_eq!(world.count(&behind).await, offset);
    assert!(world.count(READINGS).await < 72);

    let arguments = ["--topic", "readings", "--partition", "1", "--reason", "from a test", "--offset"];
    let said = world.command("skip", &[&arguments[..], &[&offset.to_string()]].concat());
    assert!(said.1 && said.0.contains("cannot read it skips it"), "{}", said.0);
    world.until_count(READINGS, 72).await;
    let letter = format!(
        "SELECT count(*) FROM dead_letters WHERE reason = 'skipped' AND detail = 'from a test' AND stage = 'sink'
         AND origin_topic = '{topic}' AND origin_partition = 1 AND origin_offset = {offset}"
    );
    world.until_count(&letter, 1).await;
    assert_eq!(world.count("SELECT count(*) FROM skips WHERE done_at IS NOT NULL").await, 1);
    until("nothing waits", || async { world.metrics(SINK).await.lines().any(|line| line == blocked(0)) }).await;
    let again = world.command("skip", &[&arguments[..], &[&offset.to_string()]].concat());
    assert!(again.1 && again.0.contains("past it"), "{}", again.0);
    let nowhere = ["--topic", "readings", "--partition", "7"];
    let refused = world.command("skip", &[&nowhere[..], &["--offset", "0", "--reason", "x"]].concat());
    assert!(!refused.1 && refused.0.contains(&format!("{topic} has no partition 7")), "{}", refused.0);
    let refused = world.command("sink", &[&["accept-gap"], &nowhere[..]].concat());
    assert!(!refused.1 && refused.0.contains(&format!("{topic} has no partition 7")), "{}", refused.0);
    let refused =
        world.command("skip", &["--topic", "raw.medisante", "--partition", "0", "--offset", "0", "--reason", "x"]);
    assert!(!refused.1 && refused.0.contains("normalizer"), "{}", refused.0);
    world.assert_ledger(72).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_events_are_skipped_only_by_an_operators_command() {
    let mut world = World::start().await;
    send(&world, 0, 24).await;
    world.until_count(READINGS, 24).await;
    world.kill(Stage::Sink);
    // Deletes the first event that no sink has read, as retention would.
    let topic = world.topic("readings");
    let next = format!("SELECT next_offset FROM sink_offsets WHERE topic = '{topic}' AND partition = 0");
    let first = world.count(&next).await;
    send(&world, 24, 72).await;
    let end = || (0..3).map(|partition| world.log_end(&topic, partition)).sum::<i64>();
    until("all readings are on their topic", || async { end() == 72 }).await;
    let admin: AdminClient<DefaultClientContext> = world.kafka_settings().client().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(first + 1)).unwrap();
    admin.delete_records(&list, &AdminOptions::new()).await.unwrap();

    let left = 71 - (world.log_end(&topic, 0) - first - 1);
    world.run(Stage::Sink);
    let waits = format!("{topic} partition 0 begins at {}, but the next offset to read is {first}", first + 1);
    until("the sink reports the gap", || async {
        world.ready(SINK).await.is_some_and(|(is_ready, said)| is_ready && said.contains(&waits))
    })
    .await;
    world.until_count(READINGS, left).await;
    assert_eq!(world.count(&next).await, first);

    let said = world.command("sink", &["accept-gap", "--topic", "readings", "--partition", "1"]);
    assert!(said.1 && said.0.contains("no gap"), "{}", said.0);
    let said = world.command("sink", &["accept-gap"]);
    assert!(
        said.1 && said.0.contains(&format!("{topic} partition 0: continues at offset {}; the 1 events", first + 1)),
        "{}",
        said.0
    );
    world.until_count(READINGS, 71).await;
    let recorded = "SELECT count(*) FROM accepted_gaps WHERE to_offset - from_offset = 1 AND accepted_at <= now()";
    assert_eq!(world.count(recorded).await, 1);
    world.until_ready(SINK).await;
}
