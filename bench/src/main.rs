//! Measurements of Device Manager, as ratios against a stated peer on the same machine in the same run.
//!
//! Absolute figures from a shared machine have little meaning; a ratio of two measurements taken in turn (A B B A) is comparable. A
//! figure counts only if it passes its correctness gate: counts, distinct ids and hashes that show that the work was done.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its results and its progress")]
#![expect(clippy::cast_precision_loss, reason = "the figures in the table are rounded")]

mod baseline;
mod copy;
mod database;
mod figure;
mod machine;
mod open_loop;
mod payload;
mod plan;
mod process;
mod round;
mod snapshot;
mod stack;
mod stats;
mod table;
mod topics;
mod wrk;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The binary under test uses this allocator, so the peers must use it too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The result of a step. An error ends the figure and is printed.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures Device Manager. `make bench` runs all figures, `bench --quick` checks that everything runs, and
/// `bench --against BINARY` compares two builds.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    plan: plan::PlanArgs,
    #[command(subcommand)]
    baseline: Option<Baseline>,
}

/// The peers, which the bench itself starts as separate processes.
#[derive(Subcommand)]
enum Baseline {
    /// A bare axum handler in front of Kafka.
    BaselineIngress(baseline::ingress::IngressArgs),
    /// Copies records from one topic to another.
    BaselineCopier(baseline::copier::CopierArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.baseline {
        Some(Baseline::BaselineIngress(args)) => baseline::ingress::run(args).await.map(|()| true),
        Some(Baseline::BaselineCopier(args)) => baseline::copier::run(args).await.map(|()| true),
        None => figure::run(cli.plan.into()).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
