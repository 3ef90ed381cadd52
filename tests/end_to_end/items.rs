//! Single items: their attribution to a patient, and the effect of an invalid item on its neighbours.

use serde_json::{Value, json};

use crate::{
    payload::{glucose_of, heart_rate},
    world::World,
};

const DEVICE: &str = "350000000000077";

/// The commands arrive in reverse order of their effective times, and after the first readings.
#[tokio::test(flavor = "multi_thread")]
async fn a_reading_is_attributed_to_who_held_the_device_when_it_was_measured() {
    let world = World::start().await;
    for measured in ["2025-12-24T08:00:00Z", "2026-01-10T08:00:00Z", "2026-02-10T08:00:00Z"] {
        world.client.post_medisante(&glucose_of(DEVICE, measured)).await;
    }
    world.until_count("SELECT count(*) FROM attributed_readings WHERE attribution = 'never assigned'", 3).await;

    world.client.post("/devices/assign", &assignment("second", "2026-02-01T00:00:00Z")).await;
    world.client.post("/devices/assign", &assignment("first", "2026-01-01T00:00:00Z")).await;
    world.until_count("SELECT count(*) FROM device_assignments", 2).await;
    world.client.post_medisante(&glucose_of(DEVICE, "2026-01-20T08:00:00Z")).await;
    world.until_count("SELECT count(*) FROM attributed_readings", 4).await;

    let holders: Vec<(String, Option<String>, String)> = sqlx::query_as(
        "SELECT to_char(measured_from AT TIME ZONE 'UTC', 'YYYY-MM-DD'), patient_id, attribution
         FROM attributed_readings ORDER BY measured_from",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap();
    let row = |day: &str, patient: Option<&str>, by: &str| (day.to_owned(), patient.map(str::to_owned), by.to_owned());
    assert_eq!(
        holders,
        [
            row("2025-12-24", None, "unassigned at that time"),
            row("2026-01-10", Some("first"), "assignment"),
            row("2026-01-20", Some("first"), "assignment"),
            row("2026-02-10", Some("second"), "assignment"),
        ]
    );
}

fn assignment(patient: &str, from: &str) -> Value {
    json!({
        "deviceId": DEVICE, "deviceType": "Glucometer", "name": "Glucometer", "deviceProvider": "medisante",
        "assignedPatientId": patient, "effectiveFrom": from,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_item_does_not_affect_the_others() {
    let world = World::start().await;
    let samples = json!([heart_rate(61), heart_rate(json!({ "not": "a number" })), heart_rate(63)]);
    world.client.post("/health-data/healthkit/standard-json", &samples).await;
    world.until_count("SELECT count(*) FROM dead_letters WHERE item = 1 AND stage = 'normalizer'", 1).await;
    world.until_count("SELECT count(*) FROM readings WHERE item IN (0, 2) AND value_num IN (61, 63)", 2).await;
    assert_eq!(world.count("SELECT count(*) FROM readings").await, 2);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 1);
    world.assert_ledger(3).await;
}
