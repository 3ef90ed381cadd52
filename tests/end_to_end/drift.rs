//! Drift: a sender begins to send fields, metrics and units that the mapping does not know.

use serde_json::{Value, json};

use crate::{
    payload::glucose,
    world::{Stage, World, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_parts_are_counted_once_for_each_payload_and_known_parts_are_stored() {
    let mut world = World::start().await;
    let all_have_outcomes = "SELECT coalesce(sum(last_offset - first_offset + 1), 0)::bigint FROM outcomes";
    world.client.post_medisante(&glucose(0)).await;
    world.until_count(all_have_outcomes, 1).await;
    assert!(world.drift(&[]).starts_with("nothing unknown"));
    assert_eq!(world.drift(&["--json"]), "");

    let mut message = glucose(1);
    message["device"]["battery"] = json!("canary");
    message["measurements"]["newThing"] = json!({ "value": 54_321, "unit": "canary unit" });
    let receipt = world.client.post_medisante(&message).await;
    until("it has arrived", || async { world.trace(&receipt).1 }).await;
    let understood = "SELECT count(*) FROM attributed_readings WHERE receipt = '%' AND value_num IS NOT NULL";
    assert_eq!(world.count(&understood.replace('%', &receipt)).await, 2);
    let said = world.drift(&[]);
    for shape in [
        "field device.battery:string (medisante standard-json, ",
        "metric measurements.newThing{unit:string,value:number} (medisante standard-json, ",
        "unit <up to 16 bytes> (medisante standard-json, ",
    ] {
        let line = said.lines().find(|line| line.starts_with(shape)).unwrap_or_else(|| panic!("{shape}: {said}"));
        assert!(line.contains(": 1 payload, first 20") && line.ends_with(&format!("receipt {receipt}")), "{line}");
    }
    assert!(said.lines().count() == 3 && !said.contains("canary") && !said.contains("54321"), "{said}");

    let again = world.client.post_medisante(&message).await;
    until("it has arrived again", || async { world.trace(&again).1 }).await;
    assert_eq!(counts(&world, &receipt), [2, 2, 2]);

    let metrics = world.normalizer_metrics().await;
    for kind in ["field", "metric", "unit"] {
        let line = format!("device_manager_normalizer_unknown_total{{provider=\"medisante\",kind=\"{kind}\"}} 2");
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }

    // Resetting the offsets delivers all events again, as after a kill and the restore of an older position.
    world.kill(Stage::Sink);
    let positions = "SELECT sum(next_offset)::bigint FROM sink_offsets";
    let reached = world.count(positions).await;
    sqlx::query("UPDATE sink_offsets SET next_offset = 0").execute(&world.pool).await.unwrap();
    world.run(Stage::Sink);
    until("all events are delivered again", || async { world.count(positions).await >= reached }).await;
    world.client.post_medisante(&glucose(2)).await;
    world.until_count(all_have_outcomes, 4).await;
    assert_eq!(counts(&world, &receipt), [2, 2, 2]);
    world.assert_ledger(6).await;
}

/// Returns the count of each shape, and checks that the first example of each is `receipt`.
fn counts(world: &World, receipt: &str) -> Vec<i64> {
    let lines = world.drift(&["--json"]);
    let all: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(all.iter().all(|drift| drift["receipt"] == receipt), "{lines}");
    all.iter().map(|drift| drift["count"].as_i64().unwrap()).collect()
}
