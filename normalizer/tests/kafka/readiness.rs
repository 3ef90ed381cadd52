//! What `/ready` says when nothing gets on.

use std::time::{Duration, Instant};

use crate::world::{World, start};

/// What an orchestrator may take for granted.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_kafka_is_told_and_so_is_its_return() {
    let world = World::alone(2).await;
    let running = world.start();
    world.samples(2, 0, 4).await;
    world.until(&[&running], &world.topics.readings(), 4).await;
    running.until_ready().await;

    let (frozen, since) = (world.freeze().await, Instant::now());
    running.until("waiting", |state| state.waiting.is_some()).await;
    assert!(since.elapsed() < TOLD_WITHIN, "told after {:?}", since.elapsed());
    drop(frozen);
    let since = Instant::now();
    running.until_ready().await;
    assert!(since.elapsed() < TOLD_WITHIN, "ready again after {:?}", since.elapsed());
    world.samples(2, 4, 8).await;
    world.until(&[&running], &world.topics.readings(), 8).await;
    running.stop().await;
}

/// Members that have no partition are as ready as the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_too_many_is_ready() {
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

/// A group that hears nothing of a member for so long puts it out.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_long_does_not_cost_the_membership() {
    let world = World::new(1).await;
    let mut config = world.config();
    for (name, value) in
        [("group.protocol", "classic"), ("session.timeout.ms", "6000"), ("max.poll.interval.ms", "6000")]
    {
        config.kafka.properties.insert(name.to_owned(), value.to_owned());
    }
    let content = crate::world::records(0, 400_000);
    world.upload(0, content.as_bytes(), 512 * 1024).await;
    let (running, bulk) = (start(config.clone()), world.topics.readings_bulk());
    while world.count(&bulk) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let since = Instant::now();
    // Another one comes in the middle, and neither stalls nor begins the same upload.
    let another = start(config);
    world.until(&[&running, &another], &bulk, 400_000).await;
    assert!(since.elapsed() > Duration::from_secs(7), "the upload was over in {:?}", since.elapsed());
    running.stop().await;
    another.stop().await;
    assert_eq!(world.count(&bulk), 400_000);
}
