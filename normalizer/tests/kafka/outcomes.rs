//! Each raw record has an outcome.

use normalizer::{Skip, SkippedRecord};
use schemas::{format::RawTopic, rejection::Reason};
use uuid::Uuid;

use crate::world::{World, records, standard_json, start};

/// The chunks of an upload contain no items, and their outcomes report that.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_items_has_an_outcome() {
    let world = World::new(1).await;
    let running = world.start();
    let content = records(0, 10);
    let manifest = world.upload(0, content.as_bytes(), 300).await;
    world.until(&[&running], &world.topics.outcomes(), manifest + 1).await;
    running.stop().await;
    let mut outcomes: Vec<_> = world.outcomes().iter().map(|one| (one.offset, one.items, one.readings)).collect();
    outcomes.sort_unstable();
    let expected: Vec<_> = (0..manifest).map(|chunk| (chunk, 0, 0)).chain([(manifest, 10, 10)]).collect();
    assert_eq!(outcomes, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_record_and_one_without_a_value_do_not_stop_the_others() {
    let world = World::new(1).await;
    world.sample(0, 1).await;
    let skipped = world.sample(0, 2).await;
    let null = world.put(RawTopic::HealthKit, 0, &standard_json(), None).await;
    world.sample(0, 3).await;
    let content = records(0, 10);
    let manifest = world.upload(0, content.as_bytes(), 300).await;
    let at = |topic, offset| SkippedRecord { topic, partition: 0, offset };
    let positions = vec![at(RawTopic::HealthKit, skipped), at(RawTopic::Uploads, manifest)];
    let mut config = world.config();
    config.skip = Skip { positions, reason: "an operator's words".to_owned() };
    let running = start(config);
    world.until(&[&running], &world.topics.readings(), 2).await;
    // One outcome for each record with a value, each chunk and the manifest.
    world.until(&[&running], &world.topics.outcomes(), 3 + manifest + 1).await;
    running.stop().await;

    let mut letters: Vec<_> = world
        .letters()
        .into_iter()
        .map(|letter| (letter.origin_offset, letter.reason, letter.detail.contains("an operator's words")))
        .collect();
    letters.sort_unstable_by_key(|(offset, ..)| *offset);
    assert_eq!(letters, [(skipped, Reason::Skipped, true), (manifest, Reason::Skipped, true)]);
    let outcomes = world.outcomes();
    let refused = |topic, offset| {
        let mut of = outcomes.iter().filter(move |one| one.topic == topic && one.offset == offset);
        of.next().map(|one| (one.items, one.rejections))
    };
    assert_eq!(refused(RawTopic::HealthKit, skipped), Some((1, 1)));
    assert_eq!(refused(RawTopic::HealthKit, null), None);
    assert_eq!(refused(RawTopic::Uploads, manifest), Some((1, 1)));
    assert_eq!(world.count(&world.topics.readings_bulk()), 0);

    // Neither record is read again.
    let running = world.start();
    world.sample(0, 4).await;
    world.until(&[&running], &world.topics.readings(), 3).await;
    running.stop().await;
    assert_eq!(world.letters().len(), 2);
}

/// The ingress never writes a chunk to another topic, but somebody else may.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_on_another_topic_is_refused() {
    use schemas::{
        raw::Headers,
        upload::{Upload, UploadPart},
    };
    let world = World::new(1).await;
    let running = world.start();
    for part in [
        UploadPart::Chunk { number: 0 },
        UploadPart::Chunk { number: 1 },
        UploadPart::Manifest { chunks: 1, bytes: 1, first: 0 },
    ] {
        let headers = Headers { upload: Some(Upload::new(Uuid::from_u128(1), part)), ..crate::world::export() };
        world.put(RawTopic::HealthKit, 0, &headers, Some(b"x")).await;
    }
    world.until(&[&running], &world.topics.outcomes(), 3).await;
    running.stop().await;
    let reasons: Vec<Reason> = world.letters().iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, [Reason::BrokenRecord; 3]);
}
