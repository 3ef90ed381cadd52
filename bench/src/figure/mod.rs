//! The figures of the table, with a file for each.

mod compare;
mod end_to_end;
mod idle;
mod ingress;
mod instructions;
mod normalizer;
mod peer;
mod pool;
mod pure;
mod replay;
mod sink;
mod soak;
mod upload;

use std::fs;

use time::{OffsetDateTime, macros::format_description};

use crate::{
    Result, machine,
    plan::{FigureName, Plan},
    stack::Stack,
    table::{self, Row},
};

/// Measures the figures of the plan, prints the table and writes it to a file. Returns whether every figure was measured and is
/// within its limit.
pub(crate) async fn run(plan: Plan) -> Result<bool> {
    let needs_stack =
        plan.names.iter().any(|name| !matches!(name, FigureName::Pure | FigureName::Pool | FigureName::Instructions));
    let stack = if needs_stack { Some(Stack::start(&plan).await?) } else { None };
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for name in &plan.names {
        match measure(*name, &plan, stack.as_ref()).await {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                eprintln!("{name:?}: {error}");
                failures.push(format!("{name:?}: {error}"));
            }
        }
    }
    if let Some(stack) = stack {
        stack.stop().await;
    }
    let page = table::page(&heading(&plan)?, &rows, &failures);
    println!("{page}");
    let path = write(&plan, &page)?;
    eprintln!("written to {path}");
    // A quick run does not check the limits.
    Ok(failures.is_empty() && (plan.quick || rows.iter().all(|row| row.holds() != Some(false))))
}

async fn measure(name: FigureName, plan: &Plan, stack: Option<&Stack>) -> Result<Vec<Row>> {
    let stack = match (name, stack) {
        (FigureName::Pure, _) => return pure::measure(plan).await,
        (FigureName::Pool, _) => return Ok(vec![pool::measure(plan).await?]),
        (FigureName::Instructions, _) => return instructions::measure(plan).await,
        (_, Some(stack)) => stack,
        (_, None) => return Err("this figure needs Kafka and Postgres".into()),
    };
    Ok(match name {
        FigureName::Pure | FigureName::Pool | FigureName::Instructions => Vec::new(),
        FigureName::Ingress => vec![ingress::measure(plan, stack).await?],
        FigureName::Normalizer => vec![normalizer::measure(plan, stack).await?],
        FigureName::Sink => vec![sink::measure(plan, stack).await?],
        FigureName::Replay => vec![replay::measure(plan, stack).await?],
        FigureName::Idle => vec![idle::measure(plan, stack).await?],
        FigureName::EndToEnd => end_to_end::measure(plan, stack).await?,
        FigureName::Upload => upload::measure(plan, stack).await?,
        FigureName::Soak => vec![soak::measure(plan, stack).await?],
    })
}

fn heading(plan: &Plan) -> Result<String> {
    let now = OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))?;
    let peer = plan.against.as_ref().map_or_else(String::new, |_| " The peer is the other build.".to_owned());
    let quick = if plan.quick { " This was a quick run: **the figures have no meaning.**" } else { "" };
    Ok(format!(
        "# Bench of {now}\n\n{}. {} rounds, product and peer in turn (A B B A), medians with the lowest and the highest value. A \
         ratio is the median of the rounds' ratios, product divided by peer. Kafka (one node), Postgres with its default \
         settings, the load generator and the measured process share the machine. Producers linger 5 ms.{peer}{quick}",
        machine::description(),
        plan.rounds
    ))
}

fn write(plan: &Plan, page: &str) -> Result<String> {
    fs::create_dir_all(&plan.results)?;
    let now = OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day]T[hour][minute]"))?;
    let path = plan.results.join(format!("{now}.md"));
    fs::write(&path, page)?;
    Ok(path.display().to_string())
}
