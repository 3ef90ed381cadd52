//! Large uploads: chunks and a manifest, on a topic of their own.

use std::time::Duration;

use schemas::{format::RawTopic, rejection::Reason};
use uuid::Uuid;

use crate::world::{FirstChunk, World, export, records, start};

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_becomes_readings_on_the_bulk_topic() {
    let world = World::new(2).await;
    let running = world.start();
    let content = records(0, 3_000);
    let manifest = world.upload(1, content.as_bytes(), 10_000).await;
    // A small upload is a single record.
    let small = records(4_000, 4_002);
    let small_at = world.put(RawTopic::Uploads, 0, &export(), Some(small.as_bytes())).await;
    world.until(&[&running], &world.topics.readings_bulk(), 3_002).await;
    world.until(&[&running], &world.topics.outcomes(), manifest + 1 + small_at + 1).await;
    running.stop().await;
    assert_eq!(world.count(&world.topics.readings()), 0);
    assert_eq!(world.count(&world.topics.dead_letters()), 0);
    let bulk = world.bulk();
    let positions: std::collections::BTreeSet<(i64, i32)> =
        bulk.iter().map(|reading| (reading.provenance.offset, reading.provenance.item)).collect();
    assert!(bulk.iter().all(|reading| reading.raw_topic() == RawTopic::Uploads));
    assert_eq!(positions.len(), 3_002);
    assert!(positions.contains(&(manifest, 2_999)) && positions.contains(&(small_at, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_does_not_match_is_noticed() {
    let world = World::new(1).await;
    let running = world.start();
    let content = records(0, 10);
    let chunks: Vec<&[u8]> = content.as_bytes().chunks(300).collect();
    let id = Uuid::from_u128(5);
    let first = world.chunks(0, id, &chunks).await;
    // The content that the hash is of has the same size and differs in one letter.
    let manifest = world
        .manifest(FirstChunk { partition: 0, offset: first }, id, &chunks, content.replacen('H', "J", 1).as_bytes())
        .await;
    world.until(&[&running], &world.topics.outcomes(), manifest + 1).await;
    running.stop().await;
    let letters = world.letters();
    let told: Vec<_> = letters.iter().map(|letter| (letter.origin_offset, letter.item, letter.reason)).collect();
    assert_eq!(told, [(manifest, None, Reason::BrokenRecord)]);
    let outcomes = world.outcomes();
    let closing = outcomes.iter().find(|one| one.offset == manifest).unwrap();
    assert_eq!((closing.items, closing.rejections), (11, 1));
}

/// The finished uploads are mapped once, even if a normalizer is restarted in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_upload_delays_no_other_and_ends_as_a_rejection() {
    let world = World::new(1).await;
    let running = world.start();
    let open = world.chunks(0, Uuid::from_u128(8), &[b"<HealthData>", b"<Record"]).await;
    let content = records(0, 20);
    world.upload(0, content.as_bytes(), 500).await;
    world.until(&[&running], &world.topics.readings_bulk(), 20).await;
    running.stop().await;

    let mut config = world.config();
    let running = start(config.clone());
    let content = records(100, 130);
    let manifest = world.upload(0, content.as_bytes(), 500).await;
    // The readings of the first upload are not produced again.
    world.until(&[&running], &world.topics.readings_bulk(), 50).await;
    world.until(&[&running], &world.topics.outcomes(), manifest).await;
    running.stop().await;
    assert_eq!(world.count(&world.topics.dead_letters()), 0);

    config.upload_wait = Duration::from_millis(100);
    let running = start(config.clone());
    world.until(&[&running], &world.topics.outcomes(), manifest + 1).await;
    running.stop().await;
    let letters = world.letters();
    let told: Vec<_> = letters.iter().map(|letter| (letter.origin_offset, letter.reason)).collect();
    assert_eq!(told, [(open, Reason::UploadIncomplete)]);

    assert_eq!(world.committed(RawTopic::Uploads, 0).map(|(offset, _)| offset), Some(manifest + 1));

    // The open upload is given up for good, also when no record follows it.
    let running = start(config);
    world.sample(0, 1).await;
    world.until(&[&running], &world.topics.readings(), 1).await;
    running.until_ready().await;
    running.stop().await;
    assert_eq!((world.count(&world.topics.readings_bulk()), world.letters().len()), (50, 1));
}

/// While an upload is mapped, everything else is processed, in each partition.
#[tokio::test(flavor = "multi_thread")]
async fn a_reading_does_not_wait_for_an_upload() {
    let world = World::new(2).await;
    let content = records(0, 60_000);
    world.upload(0, content.as_bytes(), 512 * 1024).await;
    let running = world.start();
    let bulk = world.topics.readings_bulk();
    while world.count(&bulk) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.samples(2, 0, 10).await;
    world.until(&[&running], &world.topics.readings(), 10).await;
    assert!(world.count(&bulk) < 60_000, "the upload was finished before");
    world.until(&[&running], &bulk, 60_000).await;
    running.stop().await;
}
