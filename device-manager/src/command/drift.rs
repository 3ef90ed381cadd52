//! `device-manager drift`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use schemas::receipt::ReceiptKey;
use store::drift::{self, Drift, SHAPES_MAX};

use super::{connect, receipt_secret};
use crate::{error::CommandError, output::Output};

/// List content of payloads that the mapping does not know: fields, metrics, units and codes.
///
/// Nothing breaks when a device or an app begins to send more: what is known is stored, the raw payload is kept completely,
/// and the unknown is counted here by its shape, which consists of names and types, never values. A name that might contain
/// a value is shown as its length. Each shape is listed with the number of payloads that contain it and the receipt of the
/// first one; `device-manager trace RECEIPT` shows where that payload is stored. A shape stays in the list even after a
/// later release knows it.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager drift
  device-manager drift --json | jq -r 'select(.kind == \"unit\") | .shape'")]
pub struct DriftCommand {
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The file with the secret that signs receipts; the same as the ingress's.
    #[arg(long, env = "RECEIPT_KEY_FILE", default_value = ".device-manager/receipt.key")]
    receipt_key_file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The receipt key cannot be read, or the database is not reachable.
pub async fn run(args: DriftCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let secret = receipt_secret(&args.receipt_key_file)?;
    let key = ReceiptKey::new(&secret).map_err(CommandError::usage)?;
    let mut connection = connect(&args.database_url).await?;
    let all = drift::list(&mut connection, &key).await?;
    for one in &all {
        if args.json {
            output.json(one)?;
        } else {
            output.line(&line(one))?;
        }
    }
    if all.is_empty() && !args.json {
        output.line("nothing unknown: the mapping knows all content of the stored payloads")?;
    }
    if i64::try_from(all.len()).is_ok_and(|count| count >= SHAPES_MAX) && !args.json {
        output.line(&format!("no more than {SHAPES_MAX} shapes are stored: there may be others"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(drift: &Drift) -> String {
    let Drift { fingerprint, provider, format, kind, shape, count, first_seen, last_seen, receipt } = drift;
    let payloads = if *count == 1 { "payload" } else { "payloads" };
    format!(
        "{kind} {shape} ({provider} {format}, {fingerprint}): {count} {payloads}, first {first_seen}, last {last_seen}, \
         first receipt {receipt}"
    )
}
