//! The normalizer from Kafka to Kafka, against a copier that does not change its records: a lower bound of the cost, not an
//! alternative.

use std::time::Duration;

use schemas::format::{Format, RawTopic};
use tokio::time::{Instant, sleep};

use super::{compare, pure};
use crate::{
    Result, payload,
    plan::Plan,
    process::Process,
    round::{Measured, Side, interleaved},
    stack::{Program, Stack},
    table::Row,
    topics::{Counter, Record, RunTopics},
};

const LIMIT: Duration = Duration::from_mins(3);

/// Measures the figure.
pub(crate) async fn measure(plan: &Plan, stack: &Stack) -> Result<Row> {
    let rounds =
        interleaved(plan, "normalizer", async |side, round| run(plan, stack, side, "normalizer", round).await).await?;
    if plan.against.is_some() {
        return Ok(compare::row("normalizer", &rounds));
    }
    Ok(Row {
        gate: "one outcome for each raw record, one reading for each payload, no dead letter".to_owned(),
        note: format!(
            "{} raw Medisanté records are on the topic at the start. The time runs from the first record on the output topic to \
             the last. The peer copies record by record and commits every 10,000; the product writes two events for each record.",
            plan.preloaded()
        ),
        ..Row::compared("normalizer: Kafka to Kafka", "records/s", &rounds)
    })
}

/// Runs one side. `name` distinguishes its topics from those of other figures.
pub(super) async fn run(plan: &Plan, stack: &Stack, side: Side, name: &str, round: u32) -> Result<Measured> {
    let prefix = format!("{name}-{round}-{side:?}-").to_lowercase();
    let topics = RunTopics::make(&stack.settings, &prefix).await?;
    let raw = topics.topics.raw(RawTopic::Medisante);
    let count = topics.preload(raw.clone(), raw_records(4, plan.preloaded())?).await?;
    let (mut process, output) = if let Some(build) = stack.build(side) {
        let stage =
            stack.stage_of(Program { build, arguments: &["normalizer"] }, &prefix, None, Some(&stack.key()?)).await?;
        (stage.process, topics.topics.outcomes())
    } else {
        let output = topics.topics.readings();
        let args = ["baseline-copier", "--bootstrap", &stack.settings.bootstrap, "--from", &raw, "--to", &output];
        (stack.peer(&args)?, output)
    };
    let measured = watch(&mut process, topics.counter(output)?, count).await?;
    process.stop().await?;
    let readings = topics.counter(topics.topics.readings())?.count()?;
    let dead = topics.counter(topics.topics.dead_letters())?.count()?;
    topics.delete().await?;
    if readings != count || dead != 0 {
        return Err(format!("gate: {count} payloads, {readings} readings, {dead} dead letters").into());
    }
    Ok(measured)
}

/// Returns raw glucose measurements as the ingress would have stored them.
pub(super) fn raw_records(run: u32, count: u64) -> Result<impl Iterator<Item = Record> + Send + 'static> {
    let headers: Vec<(&'static str, String)> =
        pure::headers(Format::StandardJson)?.pairs().map(|(name, value)| (name, value.to_owned())).collect();
    Ok((0..count).map(move |number| Record {
        key: payload::correlation_id(run, number),
        value: payload::glucose(run, number).body.into_bytes(),
        headers: headers.clone(),
    }))
}

/// Waits until the output topic has `count` records, and measures from its first record on. Fails if there are more.
async fn watch(process: &mut Process, output: Counter, count: u64) -> Result<Measured> {
    let deadline = Instant::now() + LIMIT;
    let mut first = None;
    loop {
        let (now, usage) = (Instant::now(), process.usage()?);
        let done = output.count()?;
        if done > 0 && first.is_none() {
            first = Some((now, usage, done));
        }
        if let Some((start, before, already)) = first
            && done >= count
        {
            if done > count {
                return Err(format!("gate: {done} records on the output topic, {count} expected").into());
            }
            if already == done {
                return Err("the work was done before it could be measured".into());
            }
            let counted = (done - already) as f64;
            return Ok(Measured {
                rate: counted / now.duration_since(start).as_secs_f64(),
                cpu_seconds_per_million: Some((usage.cpu_seconds - before.cpu_seconds) / counted * 1e6),
                peak_rss_mib: Some(usage.peak_rss_mib),
            });
        }
        process.alive()?;
        if now > deadline {
            return Err(format!("only {done} of {count} records after {} s", LIMIT.as_secs()).into());
        }
        sleep(Duration::from_millis(20)).await;
    }
}
