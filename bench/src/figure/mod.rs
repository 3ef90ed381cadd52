//! The figures, one file each.

mod against;
mod end_to_end;
mod idle;
mod ingress;
mod instructions;
mod normalizer;
mod peer;
mod pool;
mod pure;
mod sink;
mod soak;
mod upload;

use std::fs;

use time::{OffsetDateTime, macros::format_description};

use crate::{
    Result, machine,
    plan::{Name, Plan},
    stack::Stack,
    table::{self, Row},
};

/// Measures what the plan names, writes and prints the table; whether every figure came out and held its limit.
pub(crate) async fn run(plan: Plan) -> Result<bool> {
    let needs_stack = plan.names.iter().any(|name| !matches!(name, Name::Pure | Name::Pool | Name::Instructions));
    let stack = if needs_stack { Some(Stack::start(&plan).await?) } else { None };
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for name in &plan.names {
        match one(*name, &plan, stack.as_ref()).await {
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
    // A quick look says nothing about limits.
    Ok(failures.is_empty() && (plan.quick || rows.iter().all(|row| row.holds() != Some(false))))
}

async fn one(name: Name, plan: &Plan, stack: Option<&Stack>) -> Result<Vec<Row>> {
    let stack = match (name, stack) {
        (Name::Pure, _) => return pure::measure(plan).await,
        (Name::Pool, _) => return Ok(vec![pool::measure(plan).await?]),
        (Name::Instructions, _) => return instructions::measure(plan).await,
        (_, Some(stack)) => stack,
        (_, None) => return Err("needs Kafka and Postgres".into()),
    };
    Ok(match name {
        Name::Pure | Name::Pool | Name::Instructions => Vec::new(),
        Name::Ingress => vec![ingress::measure(plan, stack).await?],
        Name::Normalizer => vec![normalizer::measure(plan, stack).await?],
        Name::Sink => vec![sink::measure(plan, stack).await?],
        Name::Idle => vec![idle::measure(plan, stack).await?],
        Name::EndToEnd => end_to_end::measure(plan, stack).await?,
        Name::Upload => upload::measure(plan, stack).await?,
        Name::Soak => vec![soak::measure(plan, stack).await?],
    })
}

fn heading(plan: &Plan) -> Result<String> {
    let now = OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))?;
    let peer = plan.against.as_ref().map_or_else(String::new, |_| " The peer is the other build.".to_owned());
    let quick = if plan.quick { " A quick look: **the figures say nothing.**" } else { "" };
    Ok(format!(
        "# Bench of {now}\n\n{}. {} rounds, product and peer in turn (A B B A), medians with the lowest and the highest; a \
         ratio is the median of the rounds' ratios, product divided by peer. Kafka (one node), Postgres with its default \
         settings, load generator and what is measured share the machine. Producers linger 5 ms.{peer}{quick}",
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
