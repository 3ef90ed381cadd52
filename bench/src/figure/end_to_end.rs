//! From the request to the row that other sessions can see: `device-manager up` with all its stages in one process.

use std::{collections::HashMap, fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use sqlx::Connection;
use tokio::time::{Instant, sleep};

use super::compare;
use crate::{
    Result,
    database::RunDatabase,
    machine, open_loop,
    plan::Plan,
    process::Process,
    round::{Measured, Side, interleaved},
    snapshot::Watcher,
    stack::{Program, Stack},
    stats::{Spread, quantile},
    table::{Limit, Row},
    topics::RunTopics,
    wrk,
};

const RATE: u64 = 5_000;
const LIMIT: Duration = Duration::from_mins(2);

/// A process with all stages, the address of its ingress, and an API key.
pub(crate) struct Up {
    pub(crate) process: Process,
    http: SocketAddr,
    api_key: String,
}

struct Latency {
    answer: [f64; 2],
    row: [f64; 2],
    cpu_seconds_per_million: f64,
    peak_rss_mib: f64,
}

struct Capacity {
    rate: f64,
    cpu_seconds_per_million: f64,
    peak_rss_mib: f64,
}

/// Measures the latency at a fixed rate, and the rate at capacity.
pub(crate) async fn measure(plan: &Plan, stack: &Stack) -> Result<Vec<Row>> {
    if plan.against.is_some() {
        return Ok(vec![of_two_builds(plan, stack).await?]);
    }
    let (mut latencies, mut capacities, mut busiest) = (Vec::new(), Vec::new(), 0.0_f64);
    for round in 0..plan.rounds {
        busiest = busiest.max(machine::until_idle(plan.idle_limit()).await);
        let latency =
            on_fresh(stack, &format!("latency{round}"), async |up, database| latency(plan, up, database).await).await?;
        eprintln!("end to end, round {round}: p99 {:.0} ms to the row", latency.row[1] * 1e3);
        latencies.push(latency);
        busiest = busiest.max(machine::until_idle(plan.idle_limit()).await);
        let capacity =
            on_fresh(stack, &format!("capacity{round}"), async |up, database| capacity(plan, up, database).await)
                .await?;
        eprintln!("end to end, round {round}: {:.0} readings/s", capacity.rate);
        capacities.push(capacity);
    }
    Ok(rows(plan, &latencies, &capacities, busiest))
}

async fn of_two_builds(plan: &Plan, stack: &Stack) -> Result<Row> {
    let rounds = interleaved(plan, "end to end", async |side, round| {
        let name = format!("{side:?}{round}").to_lowercase();
        let one = on_fresh_of(stack, side, &name, async |up, database| capacity(plan, up, database).await).await?;
        Ok(Measured {
            rate: one.rate,
            cpu_seconds_per_million: Some(one.cpu_seconds_per_million),
            peak_rss_mib: Some(one.peak_rss_mib),
        })
    })
    .await?;
    Ok(compare::row("end to end", &rounds))
}

fn rows(plan: &Plan, latencies: &[Latency], capacities: &[Capacity], busiest: f64) -> Vec<Row> {
    let ms = |of: fn(&Latency) -> f64| Spread::of(latencies.iter().map(|latency| of(latency) * 1e3));
    let answers = [ms(|latency| latency.answer[0]), ms(|latency| latency.answer[1])];
    let latency_cpu = Spread::of(latencies.iter().map(|latency| latency.cpu_seconds_per_million));
    let latency_peak = latencies.iter().map(|latency| latency.peak_rss_mib).max_by(f64::total_cmp);
    let gate = "rows = distinct ids = answers 200";
    let row = |figure: &str, unit, product| Row {
        figure: figure.to_owned(),
        unit,
        product,
        gate: gate.to_owned(),
        busiest,
        ..Row::default()
    };
    vec![
        Row {
            cpu: [latency_cpu, None],
            peak_rss_mib: [latency_peak, None],
            ..row("request to row at 5,000/s: p50", "ms", ms(|latency| latency.row[0]))
        },
        Row {
            limit: Some(Limit::Below(1_000.0)),
            note: format!(
                "Open loop, one reading per request, {} s. The time counts from the scheduled time of the request. A row counts as \
                 visible from the first snapshot that sees its transaction; a snapshot is taken every 5 ms and reads no table. The \
                 answer to the request (linger 5 ms) came after {:.1} ms (p50) and {:.1} ms (p99).",
                plan.load_time().as_secs(),
                answers[0].map_or(0.0, |spread| spread.median),
                answers[1].map_or(0.0, |spread| spread.median),
            ),
            ..row("request to row at 5,000/s: p99", "ms", ms(|latency| latency.row[1]))
        },
        Row {
            cpu: [Spread::of(capacities.iter().map(|capacity| capacity.cpu_seconds_per_million)), None],
            peak_rss_mib: [capacities.iter().map(|capacity| capacity.peak_rss_mib).max_by(f64::total_cmp), None],
            note: format!(
                "wrk with {} connections for {} s, then a wait until the last row is stored: rows divided by the whole time.",
                wrk::CONNECTIONS,
                plan.load_time().as_secs()
            ),
            ..row("request to row, capacity", "readings/s", Spread::of(capacities.iter().map(|capacity| capacity.rate)))
        },
    ]
}

/// Starts all stages on this run's topics and database.
pub(crate) async fn up(stack: &Stack, side: Side, name: &str, database: &RunDatabase) -> Result<Up> {
    let build = stack.build(side).ok_or("there is no build for this side")?;
    let data_dir = stack.dir.join(format!("up-{name}"));
    let data_dir_text = data_dir.to_string_lossy();
    let arguments = ["up", "--data-dir", &data_dir_text];
    let mut stage = stack.stage_of(Program { build, arguments: &arguments }, "", Some(&database.url), None).await?;
    let env = data_dir.join("env");
    stage.process.until("the file env is written", Duration::from_secs(30), async || env.exists()).await?;
    let url = variable(&env, "INGRESS_URL")?;
    let http = url.trim_start_matches("http://").trim_end_matches('/').parse()?;
    Ok(Up { process: stage.process, http, api_key: variable(&env, "API_KEY")? })
}

fn variable(env: &Path, name: &str) -> Result<String> {
    let text = fs::read_to_string(env)?;
    let line = text.lines().find_map(|line| line.trim_start_matches("export ").strip_prefix(name)?.strip_prefix('='));
    Ok(line.ok_or_else(|| format!("the file env has no {name}"))?.trim_matches(['\'', '"']).to_owned())
}

async fn on_fresh<T>(
    stack: &Stack,
    name: &str,
    measure: impl AsyncFnOnce(&Up, &RunDatabase) -> Result<T>,
) -> Result<T> {
    on_fresh_of(stack, Side::Product, name, measure).await
}

async fn on_fresh_of<T>(
    stack: &Stack,
    side: Side,
    name: &str,
    measure: impl AsyncFnOnce(&Up, &RunDatabase) -> Result<T>,
) -> Result<T> {
    // The topics of `up` have no prefix here, so every run creates them again.
    let topics = RunTopics::make(&stack.settings, "").await?;
    let database = RunDatabase::make(&stack.database_url, &format!("bench_{name}"), None).await?;
    let up = up(stack, side, name, &database).await?;
    let measured = measure(&up, &database).await?;
    up.process.stop().await?;
    database.delete().await?;
    topics.delete_groups().await?;
    topics.delete().await?;
    Ok(measured)
}

async fn latency(plan: &Plan, up: &Up, database: &RunDatabase) -> Result<Latency> {
    let count = RATE * plan.load_time().as_secs();
    let load = Arc::new(open_loop::Load { address: up.http, api_key: up.api_key.clone(), rate: RATE, count, run: 6 });
    let watcher = Watcher::start(database.connect().await?);
    let before = up.process.usage()?;
    let start = Instant::now() + Duration::from_millis(100);
    let mut answers = open_loop::send(Arc::clone(&load), start).await?;
    stored(database, count..=count).await?;
    let after = up.process.usage()?;
    let snapshots = watcher.stop().await?;

    let mut connection = database.connect().await?;
    let transactions: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT xmin::text::bigint, (extract(epoch FROM measured_from) * 1000000)::bigint FROM readings",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    let first = crate::payload::FIRST_MEASURED.unix_timestamp() * 1_000_000;
    let mut seen_at: HashMap<i64, Option<Instant>> = HashMap::new();
    let mut rows = Vec::new();
    for (transaction, measured) in transactions {
        let seen = *seen_at.entry(transaction).or_insert_with(|| snapshots.first_that_sees(transaction));
        let due = start + load.due(u64::try_from(measured - first)?);
        rows.push(seen.ok_or("no snapshot sees the transaction of a row")?.duration_since(due).as_secs_f64());
    }
    let quantiles = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        [quantile(values, 0.5).unwrap_or_default(), quantile(values, 0.99).unwrap_or_default()]
    };
    Ok(Latency {
        answer: quantiles(&mut answers),
        row: quantiles(&mut rows),
        cpu_seconds_per_million: (after.cpu_seconds - before.cpu_seconds) / count as f64 * 1e6,
        peak_rss_mib: after.peak_rss_mib,
    })
}

async fn capacity(plan: &Plan, up: &Up, database: &RunDatabase) -> Result<Capacity> {
    let before = up.process.usage()?;
    let start = Instant::now();
    let load = wrk::send(up.http, &up.api_key, 7, plan.load_time()).await?;
    // wrk does not count the requests that are in flight when it ends.
    let rows = stored(database, load.accepted..=load.accepted + wrk::CONNECTIONS).await?;
    let seconds = start.elapsed().as_secs_f64();
    let after = up.process.usage()?;
    Ok(Capacity {
        rate: rows as f64 / seconds,
        cpu_seconds_per_million: (after.cpu_seconds - before.cpu_seconds) / rows as f64 * 1e6,
        peak_rss_mib: after.peak_rss_mib,
    })
}

/// Waits until at least the expected number of rows is stored, then checks the gate: the number is in the range, and all ids are
/// distinct. Returns the number of rows.
async fn stored(database: &RunDatabase, expected: std::ops::RangeInclusive<u64>) -> Result<u64> {
    let deadline = Instant::now() + LIMIT;
    while database.rows().await < *expected.start() {
        if Instant::now() > deadline {
            return Err(format!("gate: {} rows of {} answers", database.rows().await, expected.start()).into());
        }
        sleep(Duration::from_millis(250)).await;
    }
    let stored = database.stored().await?;
    if expected.contains(&stored.rows) && stored.distinct == stored.rows {
        Ok(stored.rows)
    } else {
        Err(format!("gate: {stored:?}, but {expected:?} answers").into())
    }
}
