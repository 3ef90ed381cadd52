//! A replay that finds no difference, against the normalizer that maps the same records: what the comparison with the database costs.

use std::{path::Path, time::Duration};

use schemas::format::RawTopic;
use tokio::time::{Instant, sleep};

use super::normalizer;
use crate::{
    Result,
    database::RunDatabase,
    plan::Plan,
    process::Process,
    round::{Measured, Side, interleaved},
    stack::{Key, Stack},
    table::{Limit, Row},
    topics::RunTopics,
};

const LIMIT: Duration = Duration::from_mins(5);
/// The limit of the ratio of processor time: the replay divided by the normalizer.
const CPU_RATIO_MAX: f64 = 2.0;

/// Measures the figure.
pub(crate) async fn measure(plan: &Plan, stack: &Stack) -> Result<Row> {
    let key = stack.key()?;
    let rounds = interleaved(plan, "replay", async |side, round| match side {
        Side::Product => product(plan, stack, &key, round).await,
        Side::Peer => normalizer::run(plan, stack, Side::Product, "replay-peer", round).await,
    })
    .await?;
    Ok(Row {
        ratio: rounds.cpu_ratio(),
        limit: Some(Limit::RatioAtMost(CPU_RATIO_MAX)),
        gate: "the replay compares every record and finds no difference; the gate of the normalizer on the other side"
            .to_owned(),
        note: format!(
            "{} raw Medisanté records are on the topic, and their readings in the database. The ratio is that of the processor \
             seconds that `device-manager replay` and the normalizer took for as many records; the peer is the normalizer.",
            plan.preloaded()
        ),
        ..Row::compared("replay: raw topic against the database", "records/s", &rounds)
    })
}

async fn product(plan: &Plan, stack: &Stack, key: &Key, round: u32) -> Result<Measured> {
    let prefix = format!("replay-{round}-");
    let topics = RunTopics::make(&stack.settings, &prefix).await?;
    let database = RunDatabase::make(&stack.database_url, &format!("bench_replay_{round}"), None).await?;
    let raw = topics.topics.raw(RawTopic::Medisante);
    let count = topics.preload(raw, normalizer::raw_records(6, plan.preloaded())?).await?;
    let mut sink = stack.stage(&["sink"], &prefix, Some(&database.url), Some(key)).await?;
    let mapping = stack.stage(&["normalizer"], &prefix, None, Some(key)).await?;
    let all = async || database.stored().await.is_ok_and(|stored| stored.rows == count);
    sink.process.until("all readings are stored", LIMIT, all).await?;
    let outcomes = topics.counter(topics.topics.outcomes())?;
    let all = async || outcomes.count().is_ok_and(|outcomes| outcomes == count);
    sink.process.until("all outcomes are produced", LIMIT, all).await?;

    let report = stack.dir.join(format!("replay-{round}.json"));
    let process = stack.replay(&prefix, &database.url, key, &report)?;
    let measured = watch(process, count).await?;
    gate(&report, count)?;
    mapping.process.stop().await?;
    sink.process.stop().await?;
    topics.delete().await?;
    database.delete().await?;
    Ok(measured)
}

/// Waits until the replay has ended, and measures it.
async fn watch(mut process: Process, count: u64) -> Result<Measured> {
    let start = Instant::now();
    let mut usage = process.usage()?;
    while !process.has_succeeded()? {
        // The process may end between the two calls; then the last usage counts.
        if let Ok(latest) = process.usage() {
            usage = latest;
        }
        if start.elapsed() > LIMIT {
            return Err(format!("the replay did not end within {} s", LIMIT.as_secs()).into());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(Measured {
        rate: count as f64 / start.elapsed().as_secs_f64(),
        cpu_seconds_per_million: Some(usage.cpu_seconds / count as f64 * 1e6),
        peak_rss_mib: Some(usage.peak_rss_mib),
    })
}

fn gate(report: &Path, count: u64) -> Result<()> {
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report)?)?;
    let number = |name: &str| report.get(name).and_then(serde_json::Value::as_u64);
    if (number("records"), number("unchanged"), number("unfinished_records")) != (Some(count), Some(count), Some(0)) {
        let numbers = [number("records"), number("unchanged"), number("unfinished_records")];
        return Err(format!("gate: {count} records; compared, unchanged, unfinished: {numbers:?}").into());
    }
    Ok(())
}
