//! Several processes per stage: they join, leave, die and freeze under load.

use time::Duration;

use crate::{
    payload::{START, glucose_of, text},
    world::{Setup, Stage, World},
};

const READINGS: &str = "SELECT count(*) FROM readings";

/// The `number`th reading, of one of many devices, so that all partitions have some.
async fn send(world: &World, number: i64) {
    let device = format!("3500000000{:05}", number % 48);
    world.sender.medisante(&glucose_of(&device, &text(START + Duration::seconds(number)))).await;
}

async fn a_second_sink_joins(group_protocol: &'static str) {
    let mut world = World::start_as(Setup { group_protocol: Some(group_protocol), ..Setup::default() }).await;
    for number in 0..10 {
        send(&world, number).await;
    }
    world.until_count(READINGS, 10).await;
    world.run_member((Stage::Sink, 1));
    world.until_ready((Stage::Sink, 1)).await;
    for number in 10..60 {
        send(&world, number).await;
    }
    world.until_count(READINGS, 60).await;
    world.kill_member((Stage::Sink, 1));
    for number in 60..110 {
        send(&world, number).await;
    }
    world.until_count(READINGS, 110).await;
    world.assert_ledger(110).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sink_joins_by_the_consumer_protocol() {
    a_second_sink_joins("consumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sink_joins_by_the_classic_protocol() {
    a_second_sink_joins("classic").await;
}
