//! Measurements of Device Manager, as ratios against a stated peer on the same machine in the same run.
//!
//! Absolute figures of a shared machine say little; a ratio of two things measured in turn (A B B A) says much. No figure
//! counts before its correctness gate: the counts, distinct ids and hashes that show that the work was really done.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to whoever runs it")]
#![expect(clippy::cast_precision_loss, reason = "figures of a table are rounded anyway")]

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

/// The binary under test uses this allocator; its peers shall not lose by theirs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What goes wrong ends the figure, and is printed as it is.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures Device Manager: `make bench`, or `bench --quick` for a look whether everything runs; `bench --against BINARY` compares
/// two builds.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    plan: plan::PlanArgs,
    #[command(subcommand)]
    baseline: Option<Baseline>,
}

/// The peers, started by the bench itself as processes of their own.
#[derive(Subcommand)]
enum Baseline {
    /// A bare axum handler in front of Kafka.
    BaselineIngress(baseline::ingress::IngressArgs),
    /// Copies records of one topic to another.
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
