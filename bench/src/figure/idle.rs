//! The resident memory of the process with all stages when it is idle.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Result,
    database::RunDatabase,
    plan::Plan,
    round::Side,
    stack::Stack,
    stats::Spread,
    table::{Limit, Row},
    topics::RunTopics,
};

/// Measures the figure.
pub(crate) async fn measure(plan: &Plan, stack: &Stack) -> Result<Row> {
    let settle = Duration::from_secs(if plan.quick { 3 } else { 30 });
    let topics = RunTopics::make(&stack.settings, "").await?;
    let database = RunDatabase::make(&stack.database_url, "bench_idle", None).await?;
    let up = super::end_to_end::up(stack, Side::Product, "idle", &database).await?;
    sleep(settle).await;
    let before = up.process.usage()?;
    sleep(settle).await;
    let after = up.process.usage()?;
    up.process.stop().await?;
    database.delete().await?;
    topics.delete_groups().await?;
    topics.delete().await?;
    Ok(Row {
        figure: "all stages in one process, idle".to_owned(),
        unit: "MiB resident",
        product: Spread::of([after.rss_mib]),
        limit: Some(Limit::Below(60.0)),
        peak_rss_mib: [Some(after.peak_rss_mib), None],
        gate: "ready".to_owned(),
        note: format!(
            "`device-manager up` on this run's Kafka and Postgres, {} s after it was ready. It used {:.2} % of a core while idle.",
            settle.as_secs() * 2,
            (after.cpu_seconds - before.cpu_seconds) / settle.as_secs_f64() * 100.0
        ),
        ..Row::default()
    })
}
