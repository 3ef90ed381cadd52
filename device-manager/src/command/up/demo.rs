//! The demonstration: devices are given to patients, traffic of three formats is sent over HTTP, and the attributed readings
//! that came out of Postgres are shown. Running it again sends the same requests and doubles no row.

use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::json;
use sqlx::{FromRow, PgPool};
use time::{OffsetDateTime, macros::datetime};

use super::stages::Surroundings;
use crate::{
    command::{CommandError, Output},
    simulate::{Kind, Plan, device_ids, run},
};

/// Always the same, so that a second demonstration is a redelivery of the first.
const MEASURED: OffsetDateTime = datetime!(2026-01-15 08:30:00 UTC);
const ENROLLED: &str = "2026-01-01T00:00:00Z";
const DEVICES: u32 = 4;
const REQUESTS: u64 = 25;
const SHOWN_PER_FORMAT: i64 = 6;
const WAIT: Duration = Duration::from_secs(30);

#[derive(FromRow)]
struct Shown {
    provider: String,
    format: String,
    patient_id: Option<String>,
    device_id: Option<String>,
    code: Option<String>,
    display: Option<String>,
    value: Option<String>,
    unit: Option<String>,
    measured: Option<String>,
}

pub(super) async fn show(url: &str, surroundings: &Surroundings, output: &mut Output) -> Result<(), CommandError> {
    enrol(url, surroundings).await?;
    let mut expected = 0;
    for (kind, name) in [
        (Kind::Medisante, "Medisanté standard-json"),
        (Kind::MedisanteFhir, "Medisanté fhir-json"),
        (Kind::Healthkit, "HealthKit standard-json"),
    ] {
        let plan = Plan {
            url: url.to_owned(),
            api_key: surroundings.api_key.clone(),
            kind,
            count: REQUESTS,
            rate: None,
            seed: 7,
            devices: DEVICES,
            connections: 4,
            patience: WAIT,
            now: MEASURED,
        };
        let summary = run(plan, ProgressBar::hidden(), |_| {})
            .await
            .map_err(|error| CommandError::failed("the demonstration's traffic", error))?;
        if summary.accepted != REQUESTS {
            return Err(CommandError::failed("the demonstration", "the ingress refused some of its requests"));
        }
        output.line(&format!("sent {REQUESTS} requests with {} readings as {name}", summary.readings))?;
        expected += summary.readings;
    }
    let pool = PgPool::connect(&surroundings.database_url).await.map_err(database)?;
    arrived(&pool, i64::try_from(expected).unwrap_or(i64::MAX)).await?;
    table(&pool, output).await
}

async fn enrol(url: &str, surroundings: &Surroundings) -> Result<(), CommandError> {
    let client = reqwest::Client::new();
    let failed = |error| CommandError::failed("giving devices to patients", error);
    for (kind, provider) in [(Kind::Medisante, "medisante"), (Kind::Healthkit, "apple-healthkit")] {
        for (device, number) in device_ids(kind, DEVICES).zip(1..) {
            let body = json!({
                "deviceId": device, "deviceType": "Demonstration", "name": format!("Device {number}"),
                "deviceProvider": provider, "assignedPatientId": format!("patient-{number}"), "effectiveFrom": ENROLLED,
            });
            let answered = client
                .post(format!("{url}/devices/assign"))
                .header("X-API-Key", &surroundings.api_key)
                .json(&body)
                .send()
                .await
                .map_err(failed)?;
            answered.error_for_status().map_err(failed)?;
        }
    }
    Ok(())
}

/// Waits until all readings are rows and every device is somebody's.
async fn arrived(pool: &PgPool, expected: i64) -> Result<(), CommandError> {
    let all_there = async {
        loop {
            let there: i64 = sqlx::query_scalar("SELECT count(*) FROM readings").fetch_one(pool).await?;
            let enrolled: i64 = sqlx::query_scalar("SELECT count(*) FROM device_assignments").fetch_one(pool).await?;
            if there >= expected && enrolled >= i64::from(2 * DEVICES) {
                return Ok::<(), sqlx::Error>(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(WAIT, all_there).await {
        Ok(arrived) => arrived.map_err(database),
        Err(_elapsed) => Err(CommandError::failed("the demonstration", "not all readings became rows within 30 s")),
    }
}

async fn table(pool: &PgPool, output: &mut Output) -> Result<(), CommandError> {
    let rows: Vec<Shown> = sqlx::query_as(
        "SELECT * FROM (
             SELECT a.provider::text, r.format::text, a.patient_id, a.device_id, a.code, a.display,
                    coalesce(a.value_num::text, a.value_text) AS value, a.unit,
                    to_char(a.measured_from AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS measured,
                    row_number() OVER (PARTITION BY a.provider, r.format ORDER BY a.measured_from, a.reading_id, a.component)
                        AS nth
             FROM attributed_readings a JOIN readings r USING (reading_id)) ranked
         WHERE nth <= $1 ORDER BY provider, format, nth",
    )
    .bind(SHOWN_PER_FORMAT)
    .fetch_all(pool)
    .await
    .map_err(database)?;
    let counted: (i64, i64) =
        sqlx::query_as("SELECT count(DISTINCT reading_id), count(patient_id) FROM attributed_readings")
            .fetch_one(pool)
            .await
            .map_err(database)?;
    let heads = ["provider", "format", "patient", "device", "code", "what", "value", "unit", "measured"];
    output.line(&line(&heads.map(str::to_owned)))?;
    for row in rows {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        output.line(&line(&[
            row.provider,
            row.format,
            or_dash(row.patient_id),
            or_dash(row.device_id),
            or_dash(row.code),
            or_dash(row.display),
            or_dash(row.value),
            or_dash(row.unit),
            or_dash(row.measured),
        ]))?;
    }
    output.line(&format!("{} readings in all, {} coded values with a patient.", counted.0, counted.1))?;
    Ok(())
}

fn line(cells: &[String; 9]) -> String {
    let widths = [9, 13, 9, 17, 9, 28, 8, 9, 24];
    let cut = |cell: &str, width: usize| cell.chars().take(width).collect::<String>();
    let padded: Vec<String> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{:width$}", cut(cell, width))).collect();
    padded.join("  ").trim_end().to_owned()
}

fn database(error: sqlx::Error) -> CommandError {
    CommandError::failed("reading from Postgres", error)
}
