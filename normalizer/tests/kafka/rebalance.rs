//! Members that join and leave the group.

use std::time::Duration;

use schemas::format::RawTopic;

use crate::world::{Running, World, export, records, start};

async fn members_come_and_go(protocol: &str) {
    const PARTITIONS: i32 = 4;
    let world = World::new(PARTITIONS).await;
    let mut config = world.config();
    config.kafka.properties.insert("group.protocol".to_owned(), protocol.to_owned());
    let (mut members, mut sent): (Vec<Running>, u32) = (Vec::new(), 0);
    // One member, then three, then one, and then two that replace each other.
    for change in [1, 2, 2, -1, -1, 1, -1, 1, -1] {
        if change > 0 {
            for _more in 0..change {
                members.push(start(config.clone()));
            }
        } else {
            members.remove(0).stop().await;
        }
        // Once during the rebalance, and once after it.
        for _part in 0..2 {
            world.samples(PARTITIONS, sent, sent + 40).await;
            sent += 40;
            until_all(&world, &members, sent).await;
        }
    }
    for member in members {
        member.until_ready().await;
        member.stop().await;
    }
}

/// A rebalance in the middle of a batch produces the same events again, so ids are counted.
async fn until_all(world: &World, members: &[Running], sent: u32) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let ids: std::collections::HashSet<_> = world.readings().iter().map(|one| one.reading_id).collect();
            if ids.len() == sent as usize {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let states = || members.iter().map(Running::state).collect::<Vec<_>>();
    assert!(waited.await.is_ok(), "{} readings instead of {sent}; {:?}", world.readings().len(), states());
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_and_leave_with_the_consumer_protocol() {
    members_come_and_go("consumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_and_leave_with_the_classic_protocol() {
    members_come_and_go("classic").await;
}

/// A member in the middle of a large upload releases a partition to a new member, without finishing the upload first.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_follows_a_rebalance_while_a_batch_is_mapped() {
    const LARGE: u32 = 600_000;
    let world = World::new(2).await;
    let content = records(0, LARGE);
    world.upload(0, content.as_bytes(), 512 * 1024).await;
    let (first, bulk) = (world.start(), world.topics.readings_bulk());
    while world.count(&bulk) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = world.start();
    let (before, outcomes) = (world.count(&world.topics.outcomes()), world.topics.outcomes());
    let small = records(LARGE, LARGE + 2);
    for partition in [0, 1] {
        world.put(RawTopic::Uploads, partition, &export(), Some(small.as_bytes())).await;
    }
    while world.count(&outcomes) == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(world.count(&bulk) < i64::from(LARGE), "the small upload waited for the large one");
    first.stop().await;
    second.stop().await;
}

/// While a batch is mapped, nothing is read. Partitions that moved to another member in the meantime are read when they return.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_revoked_while_a_batch_is_mapped_are_read_when_assigned_again() {
    const LARGE: u32 = 600_000;
    const UPLOADS: RawTopic = RawTopic::Uploads;
    let world = World::new(4).await;
    let (large, small) = (records(0, LARGE), records(LARGE, LARGE + 2));
    let manifest = world.upload(0, large.as_bytes(), 512 * 1024).await;
    let (first, bulk) = (world.start(), world.topics.readings_bulk());
    while world.count(&bulk) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let second = world.start();
    let put_to_all = async || {
        let mut ends = Vec::new();
        for partition in 0..4 {
            ends.push(1 + world.put(UPLOADS, partition, &export(), Some(small.as_bytes())).await);
        }
        ends
    };
    let until_mapped = async |ends: &[i64]| {
        let is_mapped = || {
            (0..)
                .zip(ends)
                .all(|(partition, end)| world.committed(UPLOADS, partition).is_some_and(|(at, _)| at == *end))
        };
        let mapped = tokio::time::timeout(Duration::from_secs(90), async {
            while !is_mapped() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(mapped.await.is_ok(), "not all records are mapped: {:?}", first.state());
    };
    let ends = put_to_all().await;
    assert!(
        ends[0] > manifest && world.count(&bulk) < i64::from(LARGE),
        "the second member did not join in the middle of the large upload"
    );
    until_mapped(&ends).await;
    second.stop().await;
    until_mapped(&put_to_all().await).await;
    first.stop().await;
}
