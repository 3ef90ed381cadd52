//! The memory that answered requests leave behind in an ingress whose metrics are not scraped.

use std::net::SocketAddr;

use crate::{
    Result,
    plan::Plan,
    stack::{Key, Stack},
    stats::Spread,
    table::{Limit, Row},
    topics::RunTopics,
    wrk,
};

/// The number of requests after which everything that is created on first use exists, and the allocator's caches have their size.
const WARM_UP: u64 = 200_000;
/// The warm-up needs more than one set of connections.
const WARM_UP_RUNS: u32 = 3;
/// The limit of the growth of the resident memory: about five bytes a request.
const GROWTH_MIB_MAX: f64 = 5.0;

/// Measures the figure.
pub(crate) async fn measure(plan: &Plan, stack: &Stack) -> Result<Row> {
    let key = stack.key()?;
    let topics = RunTopics::make(&stack.settings, "soak-").await?;
    let ingress = stack.stage(&["ingress"], &topics.prefix, None, Some(&key)).await?;
    let (warm_up, requests) = if plan.quick { (20_000, 100_000) } else { (WARM_UP, 1_000_000) };
    let warm_up = send(plan, ingress.http, &key, warm_up, WARM_UP_RUNS).await?;
    let before = ingress.process.usage()?;
    let sent = send(plan, ingress.http, &key, requests, 1).await?;
    let after = ingress.process.usage()?;
    ingress.process.stop().await?;
    topics.delete().await?;
    Ok(Row {
        figure: "ingress: memory that requests leave behind".to_owned(),
        unit: "MiB resident",
        product: Spread::of([after.rss_mib - before.rss_mib]),
        limit: Some(Limit::Below(GROWTH_MIB_MAX)),
        peak_rss_mib: [Some(after.peak_rss_mib), None],
        gate: "every request is answered 200".to_owned(),
        note: format!(
            "{sent} requests by wrk with {} connections, after {warm_up} uncounted ones, while nothing requests /metrics: \
             {:.1} MiB before, {:.1} MiB after.",
            wrk::CONNECTIONS,
            before.rss_mib,
            after.rss_mib
        ),
        ..Row::default()
    })
}

/// Sends requests in at least `runs` runs, until at least `least` are answered 200. Returns how many were.
async fn send(plan: &Plan, http: SocketAddr, key: &Key, least: u64, runs: u32) -> Result<u64> {
    let (mut sent, mut run) = (0, 0);
    while sent < least || run < runs {
        sent += wrk::send(http, &key.secret, run, plan.load_time()).await?.accepted;
        run += 1;
    }
    Ok(sent)
}
