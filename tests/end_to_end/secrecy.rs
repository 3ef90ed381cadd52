//! Canary values stand for health data and secrets: no stage may log one of them, at any level.

use serde_json::json;

use crate::{
    payload::glucose_of,
    world::{Setup, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn no_canary_is_in_any_log() {
    let world = World::start_as(Setup { log: "trace", ..Setup::default() }).await;
    let assignment = json!({
        "deviceId": "canary-device", "deviceType": "canary", "name": "canary", "deviceProvider": "medisante",
        "assignedPatientId": "canary-patient", "effectiveFrom": "2026-01-01T00:00:00Z",
    });
    world.client.post("/devices/assign", &assignment).await;
    let mut reading = glucose_of("canary-device", "2026-01-10T08:00:00Z");
    reading["measurements"]["glucose"]["value"] = json!("5.4321098765");
    reading["measurements"]["annotations"] = json!({ "feeling": "canary" });
    world.client.post_medisante(&reading).await;
    reading["measurements"]["glucose"]["unit"] = json!("canary/L");
    world.client.post_medisante(&reading).await;
    // The sink cannot store a NUL character, so the sample becomes a dead letter of the sink.
    let samples = json!([{ "id": "canary", "type": "HeartRate", "value": 61, "sourceName": "canary",
        "deviceId": "canary-watch", "startDate": "2026-01-10T08:00:00Z", "unit": "canary\u{0}" }]);
    world.client.post("/health-data/healthkit/standard-json", &samples).await;
    world.until_count("SELECT count(*) FROM attributed_readings WHERE patient_id = 'canary-patient'", 2).await;
    world.until_count("SELECT count(*) FROM dead_letters WHERE stage = 'normalizer'", 1).await;
    world.until_count("SELECT count(*) FROM dead_letters WHERE stage = 'sink'", 1).await;
    let logs = world.logs();
    assert!(logs.matches("\"TRACE\"").count() > 10, "the stages log at this level");
    for canary in ["canary", "5.4321098765", &world.client.key] {
        let leaked = logs.lines().find(|line| line.contains(canary));
        assert!(leaked.is_none(), "{leaked:?}");
    }
}
