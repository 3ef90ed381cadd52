//! What `device-manager trace` says of a payload on its way.

use serde_json::json;

use crate::{
    payload::{glucose, heart_rate},
    world::{Stage, World, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn trace_says_where_a_payload_waits_and_what_became_of_it() {
    let mut world = World::start().await;
    // It has made the tables by then.
    world.until_ready((Stage::Sink, 0)).await;
    world.kill(Stage::Normalizer);
    let receipt = world.sender.medisante(&glucose(0)).await;
    let (said, arrived) = world.trace(&receipt);
    assert!(!arrived && said.contains("waits for the normalizer, which has 0 records"), "{said}");

    world.kill(Stage::Sink);
    world.run(Stage::Normalizer);
    until("it waits for the sink", || async { world.trace(&receipt).0.contains("waits for the sink") }).await;
    world.run(Stage::Sink);
    until("it has arrived", || async { world.trace(&receipt).1 }).await;
    let (said, _) = world.trace(&receipt);
    assert!(said.contains("1 items, 1 readings, 0 commands, 0 rejections"), "{said}");
    assert!(said.contains("(current), Glucose") && said.contains("patient by never assigned"), "{said}");

    let samples = json!([heart_rate("61.4375"), heart_rate("many")]);
    let answer = world.sender.post("/health-data/healthkit/standard-json", &samples).await;
    let receipt = answer[1]["_id"].as_str().unwrap().to_owned();
    until("it has arrived", || async { world.trace(&receipt).1 }).await;
    let (said, _) = world.trace(&receipt);
    assert!(said.contains("item 1: dead letter of the normalizer: value-invalid"), "{said}");
    assert!(said.contains("item 0: reading"), "{said}");
    assert!(!said.contains("many") && !said.contains("61.4375"), "no health data: {said}");

    // Items side by side with the same fault share a letter, to which the receipt of each leads.
    let samples = json!([heart_rate("61"), heart_rate("many"), heart_rate("some"), heart_rate("few")]);
    let answer = world.sender.post("/health-data/healthkit/standard-json", &samples).await;
    for item in 1..4 {
        let receipt = answer[item]["_id"].as_str().unwrap().to_owned();
        until("it has arrived", || async { world.trace(&receipt).1 }).await;
        let (said, _) = world.trace(&receipt);
        let line = format!("items 1 to 3, item {item} among them: dead letter of the normalizer: value-invalid");
        assert!(said.contains(&line), "{said}");
    }
}
