//! `device-manager simulate`.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use time::OffsetDateTime;

use crate::{
    error::CommandError,
    output::Output,
    simulate::{Kind, Plan, Summary, run as send},
};

/// Send realistic synthetic traffic over HTTP, as the portal or an app would.
///
/// The same seed produces the same samples with the same ids. Sent at another time, they are corrections of the first ones,
/// so use another seed for more samples. A request that the ingress answers with 408, 429 or 5xx, or not at all, is sent
/// again, as a real sender does. A request that it refuses is counted and not sent again.
#[derive(Args)]
#[command(after_help = "Examples:
  device-manager simulate medisante --count 1000 --rate 100
  . .device-manager/env; device-manager simulate healthkit --count 50 --seed 11")]
pub struct SimulateArgs {
    /// The sender whose traffic is simulated.
    #[arg(value_enum)]
    kind: Kind,
    /// The number of requests.
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// Requests per second. By default as fast as the connections allow.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// The seed from which all values are derived.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of devices.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// The number of concurrent requests.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// The address of the ingress.
    #[arg(long, env = "INGRESS_URL", default_value = "http://127.0.0.1:3000")]
    url: String,
    /// An API key with the scope health-data:write. Preferably set in the environment, where other users do not see it.
    #[arg(long, env = "API_KEY", hide_env_values = true)]
    api_key: String,
    /// How long one request is repeated before the run gives up, in seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// Runs the command.
///
/// # Errors
/// The ingress did not accept a request within the patience.
pub async fn run(args: SimulateArgs, output: &mut Output) -> Result<ExitCode, CommandError> {
    let plan = Plan {
        url: args.url.trim_end_matches('/').to_owned(),
        api_key: args.api_key,
        kind: args.kind,
        count: args.count,
        rate: args.rate,
        seed: args.seed,
        devices: args.devices,
        connections: args.connections,
        patience: Duration::from_secs(args.patience),
        now: OffsetDateTime::now_utc(),
    };
    let summary = send(plan, progress(args.count), |_| {})
        .await
        .map_err(|error| CommandError::failed("the simulation", error))?;
    for line in lines(&summary) {
        output.line(&line)?;
    }
    Ok(if summary.refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A progress bar on a terminal; nothing elsewhere.
fn progress(count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} requests, {per_sec}, {eta} left");
    ProgressBar::new(count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn lines(summary: &Summary) -> Vec<String> {
    let seconds = summary.took.as_secs_f64().max(f64::MIN_POSITIVE);
    #[expect(clippy::cast_precision_loss, reason = "the rate is only shown to people")]
    let rate = summary.accepted as f64 / seconds;
    vec![
        format!("accepted: {} requests with {} readings", summary.accepted, summary.readings),
        format!("refused: {}", summary.refused),
        format!("repeated: {}", summary.repeated),
        format!("rate: {rate:.0} requests a second over {seconds:.1} s"),
        format!("time to the answer: p50 {:.1} ms, p99 {:.1} ms", milliseconds(summary.p50), milliseconds(summary.p99)),
    ]
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
