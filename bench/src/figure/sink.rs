//! The sink against the fastest plain SQL with the same rows in the same table of the same database server.

use std::{path::Path, time::Duration};

use schemas::{
    codec::encode,
    format::{Format, Provider, RawTopic},
};
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{compare, pure};
use crate::{
    Result,
    copy::Batches,
    database::{RunDatabase, Stored},
    payload,
    plan::Plan,
    round::{Measured, Side, interleaved},
    stack::{Key, Program, Stack},
    table::{Limit, Row},
    topics::{Record, RunTopics},
};

/// The maximum number of readings in a transaction of the sink, and the number in each transaction of the peer.
const BATCH: usize = 5_000;
const LIMIT: Duration = Duration::from_mins(3);
/// The peer's statement for a batch. The conflict clause is that of the sink.
const INSERT: &str = "INSERT INTO readings SELECT * FROM staged ON CONFLICT (reading_id) DO NOTHING";

/// Measures the figure.
pub(crate) async fn measure(plan: &Plan, stack: &Stack) -> Result<Row> {
    let key = stack.key()?;
    if plan.against.is_some() {
        return of_two_builds(plan, stack, &key).await;
    }
    // A first run, which is not counted, creates the rows that the peer then writes.
    let (database, _) = product(plan, stack, &key, Side::Product, "warmup").await?;
    let stored = database.stored().await?;
    let batches = Batches::of_readings(&mut database.connect().await?, BATCH).await?;
    empty(&mut database.connect().await?).await?;

    let rounds = interleaved(plan, "sink", async |side, round| {
        let name = format!("{side:?}{round}").to_lowercase();
        let (run, measured) = match side {
            Side::Product => product(plan, stack, &key, side, &name).await?,
            Side::Peer => peer(stack, &name, &database, &batches).await?,
        };
        gate(plan, &stored, &run.stored().await?)?;
        run.delete().await?;
        Ok(measured)
    })
    .await?;
    database.delete().await?;
    Ok(Row {
        limit: Some(Limit::Ratio(0.8)),
        gate: "count, distinct ids and MD5 over the sorted ids are the same on both sides".to_owned(),
        note: format!(
            "{} readings are on the topic at the start, and the table is empty. The peer has the sink's own rows decoded in \
             memory, copies them in batches of {BATCH} to a temporary table in binary form and runs `{INSERT}`, one transaction \
             per batch. The product's time runs from its first visible rows to its last. Processor time is that of the process, \
             without Postgres.",
            plan.preloaded()
        ),
        ..Row::compared("sink: Kafka to Postgres", "readings/s", &rounds)
    })
}

/// Compares two builds. Each build reads what its own normalizer has written, because it may not know the schemas of the other.
async fn of_two_builds(plan: &Plan, stack: &Stack, key: &Key) -> Result<Row> {
    let mut expected: Option<Stored> = None;
    let rounds = interleaved(plan, "sink", async |side, round| {
        let name = format!("{side:?}{round}").to_lowercase();
        let (run, measured) = product(plan, stack, key, side, &name).await?;
        let stored = run.stored().await?;
        gate(plan, expected.get_or_insert_with(|| stored.clone()), &stored)?;
        run.delete().await?;
        Ok(measured)
    })
    .await?;
    Ok(compare::row("sink", &rounds))
}

/// Writes the readings to their topic. Returns how many there are.
async fn lay_ready(plan: &Plan, stack: &Stack, build: &Path, key: &Key, topics: &RunTopics) -> Result<u64> {
    if plan.against.is_none() {
        return topics.preload(topics.topics.readings(), records(plan.preloaded())).await;
    }
    let raw = topics.topics.raw(RawTopic::Medisante);
    let count = topics.preload(raw, super::normalizer::raw_records(5, plan.preloaded())?).await?;
    let mut normalizer =
        stack.stage_of(Program { build, arguments: &["normalizer"] }, &topics.prefix, None, Some(key)).await?;
    let outcomes = topics.counter(topics.topics.outcomes())?;
    let all = async || outcomes.count().is_ok_and(|outcomes| outcomes >= count);
    normalizer.process.until("the readings are on their topic", LIMIT, all).await?;
    normalizer.process.stop().await?;
    Ok(count)
}

fn gate(plan: &Plan, expected: &Stored, stored: &Stored) -> Result<()> {
    if stored == expected && stored.rows == plan.preloaded() && stored.distinct == stored.rows {
        Ok(())
    } else {
        Err(format!("gate: {} readings, {stored:?}", plan.preloaded()).into())
    }
}

async fn empty(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("TRUNCATE readings CASCADE").execute(connection).await?;
    Ok(())
}

async fn peer(stack: &Stack, name: &str, template: &RunDatabase, batches: &Batches) -> Result<(RunDatabase, Measured)> {
    let database = RunDatabase::make(&stack.database_url, &format!("bench_sink_{name}"), Some(template)).await?;
    let mut connection = database.connect().await?;
    sqlx::query("CREATE TEMPORARY TABLE staged (LIKE readings) ON COMMIT DELETE ROWS").execute(&mut connection).await?;
    let start = Instant::now();
    for batch in batches.iter() {
        let mut transaction = connection.begin().await?;
        let mut copy = transaction.copy_in_raw("COPY staged FROM STDIN (FORMAT binary)").await?;
        copy.send(batch).await?;
        copy.finish().await?;
        sqlx::query(INSERT).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    let rate = batches.rows() as f64 / start.elapsed().as_secs_f64();
    connection.close().await?;
    Ok((database, Measured { rate, cpu_seconds_per_million: None, peak_rss_mib: None }))
}

async fn product(plan: &Plan, stack: &Stack, key: &Key, side: Side, name: &str) -> Result<(RunDatabase, Measured)> {
    let build = stack.build(side).ok_or("there is no build for this side")?;
    let topics = RunTopics::make(&stack.settings, &format!("sink-{name}-")).await?;
    let count = lay_ready(plan, stack, build, key, &topics).await?;
    let last = last_ids(count)?;
    let database = RunDatabase::make(&stack.database_url, &format!("bench_sink_{name}"), None).await?;
    let mut stage =
        stack.stage_of(Program { build, arguments: &["sink"] }, &topics.prefix, Some(&database.url), Some(key)).await?;
    let mut connection = database.connect().await?;
    let deadline = Instant::now() + LIMIT;
    let mut first = None;
    let measured = loop {
        let (now, usage) = (Instant::now(), stage.process.usage()?);
        if now > deadline {
            return Err(format!("not stored within {} s", LIMIT.as_secs()).into());
        }
        let Some((start, before, already)) = first else {
            let rows = rows(&mut connection).await;
            first = (rows > 0).then_some((now, usage, rows));
            stage.process.alive()?;
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        if all_stored(&mut connection, &last).await? {
            let counted = count.saturating_sub(already).max(1) as f64;
            break Measured {
                rate: counted / now.duration_since(start).as_secs_f64(),
                cpu_seconds_per_million: Some((usage.cpu_seconds - before.cpu_seconds) / counted * 1e6),
                peak_rss_mib: Some(usage.peak_rss_mib),
            };
        }
        stage.process.alive()?;
        sleep(Duration::from_millis(100)).await;
    };
    connection.close().await?;
    stage.process.stop().await?;
    topics.delete().await?;
    Ok((database, measured))
}

/// Returns the number of rows; 0 also before the sink has created the table.
async fn rows(connection: &mut PgConnection) -> u64 {
    let rows: std::result::Result<i64, _> =
        sqlx::query_scalar("SELECT count(*) FROM readings").fetch_one(connection).await;
    rows.ok().and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0)
}

/// Returns whether the last reading of every device is stored. A device's readings are in one partition, in their order, and every
/// partition ends with the last reading of some device. So if these readings are stored, all are, and the check takes only a
/// thousand index look-ups.
async fn all_stored(connection: &mut PgConnection, last: &[Uuid]) -> Result<bool> {
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM readings WHERE reading_id = ANY($1)")
        .bind(last)
        .fetch_one(connection)
        .await?;
    Ok(usize::try_from(found)? == last.len())
}

fn records(count: u64) -> impl Iterator<Item = Record> + Send + 'static {
    let headers = pure::headers(Format::StandardJson).ok();
    (0..count).filter_map(move |number| {
        let payload = payload::glucose(5, number);
        let mut raw = pure::record(Provider::Medisante, headers.as_ref()?, &payload);
        raw.offset = i64::try_from(number).ok()?;
        let reading = normalizer::normalize(&raw).readings.into_iter().next()?;
        let key = reading.device.as_ref()?.key.hyphenated().to_string();
        Some(Record { key, value: encode(&reading), headers: Vec::new() })
    })
}

fn last_ids(count: u64) -> Result<Vec<Uuid>> {
    let headers = pure::headers(Format::StandardJson)?;
    let id = |number| {
        let payload = payload::glucose(5, number);
        let normalized = normalizer::normalize(&pure::record(Provider::Medisante, &headers, &payload));
        normalized.readings.first().map(|reading| reading.reading_id)
    };
    (count.saturating_sub(payload::DEVICES)..count)
        .map(|number| id(number).ok_or_else(|| "a payload produced no reading".into()))
        .collect()
}
