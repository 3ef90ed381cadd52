//! What `device-manager trace` reports about a payload on its way.

use serde_json::json;

use crate::{
    payload::{glucose, heart_rate},
    world::{Stage, World, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn trace_shows_where_a_payload_waits_and_its_outcome() {
    let mut world = World::start().await;
    // A sink that is ready has created the tables.
    world.until_ready((Stage::Sink, 0)).await;
    world.kill(Stage::Normalizer);
    let receipt = world.client.post_medisante(&glucose(0)).await;
    let (said, arrived) = world.trace(&receipt);
    assert!(!arrived && said.contains("waits for the normalizer, which reads 0 other records"), "{said}");

    world.kill(Stage::Sink);
    world.run(Stage::Normalizer);
    until("it waits for the sink", || async { world.trace(&receipt).0.contains("waits for the sink") }).await;
    world.run(Stage::Sink);
    until("it has arrived", || async { world.trace(&receipt).1 }).await;
    let (said, _) = world.trace(&receipt);
    assert!(said.contains("1 item, 1 reading, 0 device commands, 0 refused items"), "{said}");
    assert!(said.contains("(current), Glucose") && said.contains("no patient: never assigned"), "{said}");

    let samples = json!([heart_rate("61.4375"), heart_rate("many")]);
    let answer = world.client.post("/health-data/healthkit/standard-json", &samples).await;
    let receipt = answer[1]["_id"].as_str().unwrap().to_owned();
    until("it has arrived", || async { world.trace(&receipt).1 }).await;
    let (said, _) = world.trace(&receipt);
    assert!(said.contains("item 1: dead letter of the normalizer (open): value-invalid"), "{said}");
    assert!(said.contains("item 0: reading"), "{said}");
    assert!(!said.contains("many") && !said.contains("61.4375"), "no health data: {said}");

    // Consecutive items with the same fault share a dead letter, which trace finds by the receipt of each.
    let samples = json!([heart_rate("61"), heart_rate("many"), heart_rate("some"), heart_rate("few")]);
    let answer = world.client.post("/health-data/healthkit/standard-json", &samples).await;
    for item in 1..4 {
        let receipt = answer[item]["_id"].as_str().unwrap().to_owned();
        until("it has arrived", || async { world.trace(&receipt).1 }).await;
        let (said, _) = world.trace(&receipt);
        let line = format!("items 1 to 3, including item {item}: dead letter of the normalizer (open): value-invalid");
        assert!(said.contains(&line), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_finds_requests_by_their_correlation_id_and_summarizes_large_ones() {
    let world = World::start().await;
    let mut samples: Vec<_> = (0..30).map(|_| heart_rate("61")).collect();
    samples.extend([heart_rate("many"), heart_rate("62"), heart_rate("few")]);
    let path = "/health-data/healthkit/standard-json";
    let answer = world.client.post_as("order-7/a", path, &json!(samples)).await;
    assert_eq!(answer.status(), 200);
    let answer: serde_json::Value = answer.json().await.unwrap();
    // An unassign of a device that was never assigned.
    let unassign = "/devices/0d9a4f0e-0000-5000-8000-000000000001/unassign";
    let answered = world.client.post_as("order-7/b", unassign, &json!({})).await;
    let command = answered.headers()["Receipt"].to_str().unwrap().to_owned();

    until("it is found and has arrived", || async { world.trace("order-7/a").1 }).await;
    let (said, _) = world.trace("order-7/a");
    assert!(said.contains("31 readings (current): Heart rate (8867-4), final"), "{said}");
    assert!(said.contains("2 refused items: dead letters of the normalizer (open): value-invalid"), "{said}");
    assert!(said.contains("only the first 3 of each kind are listed; --all lists all"), "{said}");
    assert!(said.contains("item 2: reading") && !said.contains("item 3: reading"), "{said}");

    // The item of the receipt is always listed, and --all lists all items.
    let receipt = answer[17]["_id"].as_str().unwrap();
    assert!(world.trace(receipt).0.contains("item 17: reading"));
    let (all, _) = world.trace_with(&[receipt, "--all"]);
    assert_eq!(all.matches(": reading ").count(), 31, "{all}");
    let (line, _) = world.trace_with(&["order-7/a", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["reading_counts"][0]["readings"], 31);
    assert_eq!((&object["is_complete"], &object["waits_for"]), (&json!(true), &serde_json::Value::Null));
    assert_eq!(object["readings"].as_array().unwrap().len(), 3);
    assert_eq!(object["receipt"], answer[0]["_id"]);

    until("the command has arrived", || async { world.trace(&command).1 }).await;
    let (said, _) = world.trace("order-7/b");
    assert!(
        said.contains("device command: unknown-device: the command has no effect: no command has assigned"),
        "{said}"
    );

    let key = world.path("receipt.key").display().to_string();
    for (word, since) in [("order-7/c", "24h"), ("order-7/a", "2999-01-01T00:00:00Z")] {
        let output = world.command("trace", &[word, "--since", since, "--receipt-key-file", &key]);
        assert!(!output.1 && output.0.contains("has it as correlation id"), "{}", output.0);
    }
}
