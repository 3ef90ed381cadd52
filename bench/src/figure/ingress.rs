//! The ingress against a bare handler: the cost of authentication, limits, validation, receipts and metrics.

use std::{net::SocketAddr, time::Duration};

use schemas::format::RawTopic;

use super::compare;
use crate::{
    Result,
    plan::Plan,
    process::Process,
    round::{Measured, Side, interleaved},
    stack::{self, Key, Program, Stack},
    stats::Spread,
    table::{Limit, Row},
    topics::RunTopics,
    wrk,
};

/// Measures the figure.
pub(crate) async fn measure(plan: &Plan, stack: &Stack) -> Result<Row> {
    let key = stack.key()?;
    if plan.against.is_some() {
        let run = async |side, round| Ok(run(plan, stack, &key, side, round).await?.0);
        return Ok(compare::row("ingress", &interleaved(plan, "ingress", run).await?));
    }
    let mut latencies = Vec::new();
    let rounds = interleaved(plan, "ingress", async |side, round| {
        let (measured, load) = run(plan, stack, &key, side, round).await?;
        latencies.push((side, load));
        Ok(measured)
    })
    .await?;
    let latency = |of: Side, value: fn(&wrk::Load) -> f64| {
        let values = latencies.iter().filter(|(side, _)| *side == of).map(|(_, load)| value(load));
        Spread::of(values).map_or(0.0, |spread| spread.median)
    };
    Ok(Row {
        limit: Some(Limit::Ratio(0.8)),
        gate: "records and distinct ids on the topic = answers 200".to_owned(),
        note: format!(
            "wrk, {} connections, closed loop, Medisanté JSON of about 640 bytes. The peer produces without a key and \
             headers. At capacity and a linger of 5 ms, p50 / p99 were {:.1} / {:.1} ms (product), {:.1} / {:.1} ms (peer).",
            wrk::CONNECTIONS,
            latency(Side::Product, |load| load.p50_ms),
            latency(Side::Product, |load| load.p99_ms),
            latency(Side::Peer, |load| load.p50_ms),
            latency(Side::Peer, |load| load.p99_ms),
        ),
        ..Row::compared("ingress: HTTP to Kafka", "requests/s", &rounds)
    })
}

async fn run(plan: &Plan, stack: &Stack, key: &Key, side: Side, round: u32) -> Result<(Measured, wrk::Load)> {
    let prefix = format!("ingress-{round}-{side:?}-").to_lowercase();
    let topics = RunTopics::make(&stack.settings, &prefix).await?;
    let topic = topics.topics.raw(RawTopic::Medisante);
    let (process, http) = start(stack, key, side, &topics, &topic).await?;
    let warm_up = wrk::send(http, &key.secret, 1, Duration::from_secs(1)).await?;
    let before = process.usage()?;
    let load = wrk::send(http, &key.secret, 2, plan.load_time()).await?;
    let after = process.usage()?;
    process.stop().await?;

    let content = topics.content(topic, correlation_id).await?;
    topics.delete().await?;
    let accepted = load.accepted + warm_up.accepted;
    // wrk drops the requests that are in flight when its time is over: they may be on the topic, but wrk does not count them.
    let in_flight = 2 * wrk::CONNECTIONS;
    if content.records != content.distinct || !(accepted..=accepted + in_flight).contains(&content.records) {
        return Err(format!("gate: {accepted} answers 200, but {content:?} on the topic").into());
    }
    let measured = Measured {
        rate: load.accepted as f64 / load.seconds,
        cpu_seconds_per_million: Some((after.cpu_seconds - before.cpu_seconds) / load.accepted as f64 * 1e6),
        peak_rss_mib: Some(after.peak_rss_mib),
    };
    Ok((measured, load))
}

async fn start(stack: &Stack, key: &Key, side: Side, topics: &RunTopics, topic: &str) -> Result<(Process, SocketAddr)> {
    let (mut process, http) = if let Some(build) = stack.build(side) {
        let stage = stack.stage_of(Program { build, arguments: &["ingress"] }, &topics.prefix, None, Some(key)).await?;
        (stage.process, stage.http)
    } else {
        let http = stack::free_address()?;
        let bootstrap = stack.settings.bootstrap.as_str();
        let args = ["baseline-ingress", "--address", &http.to_string(), "--bootstrap", bootstrap, "--topic", topic];
        (stack.peer(&args)?, http)
    };
    let listens = async || tokio::net::TcpStream::connect(http).await.is_ok();
    process.until("the port is open", Duration::from_secs(10), listens).await?;
    Ok((process, http))
}

/// Returns the body's correlation id: 36 bytes after a prefix that is always the same.
fn correlation_id(body: &[u8]) -> Option<&[u8]> {
    let head = br#"{"metadata":{"correlationId":""#.len();
    body.get(head..head + 36)
}
