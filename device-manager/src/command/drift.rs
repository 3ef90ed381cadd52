//! `device-manager drift`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use schemas::receipt::ReceiptKey;
use store::drift::{self, Drift, SHAPES_MAX};

use super::{connect, receipt_secret};
use crate::{error::CommandError, output::Output};

/// List what payloads held that the mapping does not know: fields, metrics, units and codes.
///
/// Nothing breaks when a device or an app begins to send more: what is understood is stored, the raw payload keeps all of it, and
/// the unknown is counted here by its shape, which is names and types, never values. A name that might hold a value is shown
/// as its length. Each shape comes with the number of payloads that had it and the receipt of the first; `device-manager trace
/// RECEIPT` says where that one lies. A shape stays in the list when a later release understands it.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager drift
  device-manager drift --json | jq -r 'select(.kind == \"unit\") | .shape'")]
pub struct DriftCommand {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// The database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The file with the secret that signs receipts; the ingress's.
    #[arg(long, env = "RECEIPT_KEY_FILE", default_value = ".device-manager/receipt.key")]
    receipt_key_file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The receipt key cannot be read, or the database is away.
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
        output.line("nothing unknown: the mapping knows all that the stored payloads hold")?;
    }
    if i64::try_from(all.len()).is_ok_and(|count| count >= SHAPES_MAX) && !args.json {
        output.line(&format!("no more than {SHAPES_MAX} shapes are kept: there may be others"))?;
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
