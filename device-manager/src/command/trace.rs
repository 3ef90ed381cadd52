//! `device-manager trace RECEIPT`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use schemas::receipt::{Position, ReceiptKey};
use service::secret;
use sqlx::{Connection, PgConnection};

use super::{CommandError, Output};

/// Follow a receipt: where its payload lies, and what became of it.
///
/// Exit code 0 when it has arrived, as rows, as dead letters, or as a device command; 1 while it still waits somewhere.
#[derive(Args)]
#[command(after_help = "Example:
  . .device-manager/env; device-manager trace --receipt-key-file .device-manager/receipt.key AAAB…")]
pub struct TraceCommand {
    /// The receipt, as the ingress answered it or as the view attributed_readings shows it.
    receipt: String,
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
/// The word is no receipt of this installation, or the database is away.
pub async fn run(args: TraceCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let secret = secret::load_or_refuse(&args.receipt_key_file)
        .map_err(|error| CommandError::failed("the receipt key", error))?;
    let position = ReceiptKey::new(&secret).and_then(|key| key.read(&args.receipt)).map_err(CommandError::usage)?;
    let Position { topic, partition, offset, item, .. } = position;
    output.line(&format!("raw record: {} partition {partition} offset {offset}, item {item}", topic.as_str()))?;
    let mut connection = PgConnection::connect(&args.database_url).await.map_err(database)?;
    let outcome = ::sink::trace::outcome(&mut connection, &position).await.map_err(database)?;
    match &outcome {
        Some(outcome) => output.line(&format!(
            "normalized by mapping {}: {} items, {} readings, {} commands, {} rejections",
            outcome.mapping_version, outcome.items, outcome.readings, outcome.commands, outcome.rejections
        ))?,
        None => output.line("not normalized yet, or its outcome has not reached the database: ask again soon")?,
    }
    let readings = ::sink::trace::readings(&mut connection, &position).await.map_err(database)?;
    for reading in &readings {
        let what = reading.display.as_deref().or(reading.code.as_deref()).unwrap_or("a value without a code");
        output.line(&format!(
            "item {}: reading {} ({}), {what}, {}, patient by {}",
            reading.item, reading.reading_id, reading.state, reading.status, reading.attribution
        ))?;
    }
    let letters = ::sink::trace::letters(&mut connection, &position).await.map_err(database)?;
    for letter in &letters {
        let place = if letter.item < 0 { "the payload".to_owned() } else { format!("item {}", letter.item) };
        output.line(&format!("{place}: dead letter of the {}: {}: {}", letter.stage, letter.reason, letter.detail))?;
    }
    let verdict = ::sink::trace::verdict(&mut connection, &position).await.map_err(database)?;
    if let Some(verdict) = &verdict {
        output.line(&format!("device command: {verdict}"))?;
    }
    let arrived = !readings.is_empty() || !letters.is_empty() || verdict.is_some();
    if outcome.is_some() && !arrived {
        output.line("normalized; its events wait to be written")?;
    }
    Ok(if arrived { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn database(error: sqlx::Error) -> CommandError {
    CommandError::failed("asking Postgres", error)
}
