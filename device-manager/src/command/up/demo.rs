//! The demonstration: assigns devices to patients, sends traffic of three formats over HTTP, and shows the resulting
//! attributed readings from Postgres. Running it again sends the same requests and duplicates no row.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::ProgressBar;
use schemas::receipt::{ItemPosition, ReceiptKey};
use serde_json::json;
use service::secret;
use sqlx::{FromRow, PgConnection, PgPool};
use store::trace::Progress;
use time::{OffsetDateTime, macros::datetime};

use super::context::UpContext;
use crate::{
    error::CommandError,
    output::Output,
    simulate::{Kind, Plan, device_ids, run},
};

/// Always the same, so that a second demonstration is a redelivery of the first.
const MEASURED: OffsetDateTime = datetime!(2026-01-15 08:30:00 UTC);
const ENROLLED: &str = "2026-01-01T00:00:00Z";
const DEVICES: u32 = 4;
const REQUESTS: u64 = 25;
const SHOWN_PER_FORMAT: i64 = 6;
const WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

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

pub(super) async fn show(url: &str, context: &UpContext, output: &mut Output) -> Result<(), CommandError> {
    let pool = PgPool::connect(&context.database_url).await.map_err(database)?;
    let before = count(&pool, "SELECT count(*) FROM readings").await?;
    enrol(url, context).await?;
    let receipts = Arc::new(Mutex::new(Vec::new()));
    let mut sent = 0;
    for (kind, name) in [
        (Kind::Medisante, "Medisanté standard-json"),
        (Kind::MedisanteFhir, "Medisanté fhir-json"),
        (Kind::Healthkit, "HealthKit standard-json"),
    ] {
        let readings = send(url, context, kind, &receipts).await?;
        output.line(&format!("sent {REQUESTS} requests with {readings} readings as {name}"))?;
        sent += readings;
    }
    let receipts = std::mem::take(&mut *receipts.lock().unwrap_or_else(PoisonError::into_inner));
    arrived(&pool, payloads(context, &receipts)?).await?;
    table(&pool, output).await?;
    let after = count(&pool, "SELECT count(*) FROM readings").await?;
    let added = after.saturating_sub(before);
    output.line(&format!(
        "{sent} readings were sent: {added} new rows, the others were stored before; {after} in total."
    ))?;
    Ok(())
}

/// Sends one kind of traffic, collects the receipts, and returns the number of readings in it.
async fn send(
    url: &str,
    context: &UpContext,
    kind: Kind,
    receipts: &Arc<Mutex<Vec<String>>>,
) -> Result<u64, CommandError> {
    let plan = Plan {
        url: url.to_owned(),
        api_key: context.api_key.clone(),
        kind,
        count: REQUESTS,
        rate: None,
        seed: 7,
        devices: DEVICES,
        connections: 4,
        patience: WAIT,
        now: MEASURED,
    };
    let kept = Arc::clone(receipts);
    let keep = move |accepted: &crate::simulate::Accepted| {
        kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&accepted.receipts);
    };
    let summary = run(plan, ProgressBar::hidden(), keep)
        .await
        .map_err(|error| CommandError::failed("the demonstration's traffic", error))?;
    if summary.accepted != REQUESTS {
        return Err(CommandError::failed("the demonstration", "the ingress refused some of its requests"));
    }
    Ok(summary.readings)
}

/// The positions of the payloads that the receipts name. The samples of an array share one payload.
fn payloads(context: &UpContext, receipts: &[String]) -> Result<Vec<ItemPosition>, CommandError> {
    let failed = |error| CommandError::failed("reading the receipt key", error);
    let secret = secret::load(&context.receipt_key_file).map_err(failed)?;
    let key = ReceiptKey::new(&secret).map_err(CommandError::usage)?;
    let positions: Vec<ItemPosition> =
        receipts.iter().map(|receipt| key.read(receipt)).collect::<Result<_, _>>().map_err(CommandError::usage)?;
    let mut seen = BTreeSet::new();
    let first = |position: &ItemPosition| seen.insert((position.topic, position.partition, position.offset));
    Ok(positions.into_iter().filter(first).collect())
}

async fn enrol(url: &str, context: &UpContext) -> Result<(), CommandError> {
    let client = reqwest::Client::new();
    let failed = |error| CommandError::failed("assigning devices to patients", error);
    for (kind, provider) in [(Kind::Medisante, "medisante"), (Kind::Healthkit, "apple-healthkit")] {
        for (device, number) in device_ids(kind, DEVICES).zip(1..) {
            let body = json!({
                "deviceId": device, "deviceType": "Demonstration", "name": format!("Device {number}"),
                "deviceProvider": provider, "assignedPatientId": format!("patient-{number}"), "effectiveFrom": ENROLLED,
            });
            let answered = client
                .post(format!("{url}/devices/assign"))
                .header("X-API-Key", &context.api_key)
                .json(&body)
                .send()
                .await
                .map_err(failed)?;
            answered.error_for_status().map_err(failed)?;
        }
    }
    Ok(())
}

/// Waits until everything that was sent has become rows, and every device is assigned.
async fn arrived(pool: &PgPool, payloads: Vec<ItemPosition>) -> Result<(), CommandError> {
    let all_there = async {
        let mut connection = pool.acquire().await.map_err(database)?;
        for payload in &payloads {
            while !has_arrived(&mut connection, payload).await? {
                tokio::time::sleep(POLL).await;
            }
        }
        while count(pool, "SELECT count(*) FROM device_assignments").await? < i64::from(2 * DEVICES) {
            tokio::time::sleep(POLL).await;
        }
        Ok::<(), CommandError>(())
    };
    match tokio::time::timeout(WAIT, all_there).await {
        Ok(arrived) => arrived,
        Err(_elapsed) => Err(CommandError::failed("the demonstration", "not all readings became rows within 30 s")),
    }
}

async fn has_arrived(connection: &mut PgConnection, payload: &ItemPosition) -> Result<bool, CommandError> {
    Progress::load(connection, payload).await.map(|progress| progress.is_complete()).map_err(database)
}

async fn count(pool: &PgPool, query: &'static str) -> Result<i64, CommandError> {
    sqlx::query_scalar(query).fetch_one(pool).await.map_err(database)
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
