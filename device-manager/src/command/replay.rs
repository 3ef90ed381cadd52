//! `device-manager replay`: shows what the current mapping would change.

use std::{
    fs,
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ::replay::{Change, ChangeKind, Diff, Group, Progress, ReplayConfig, Scope, page};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use schemas::{
    event::PatientId,
    format::{Format, Provider},
    receipt::{ItemPosition, ReceiptKey},
};
use serde::Serialize;
use sqlx::postgres::PgPoolOptions;
use time::OffsetDateTime;

use super::{KafkaArgs, database, format_name, normalizer::config, provider_name, reach, receipt_secret, since::Since};
use crate::{
    error::{CommandError, chain},
    output::{Output, remark},
};

/// How often the progress is updated.
const REFRESH: Duration = Duration::from_millis(200);
/// How often the progress is reported if standard error is not a terminal.
const REPORT: Duration = Duration::from_secs(30);

/// Map raw records again, and show what the current mapping would change.
///
/// Every raw record of the scope is read from Kafka again, mapped, and compared with the database. The command joins no
/// consumer group and changes nothing. A reading counts as
///
/// - added if the mapping produces it and it is not stored,
/// - changed if the mapping produces it with other fields,
/// - withdrawn if it is stored and no raw record yields it.
///
/// Records that the stages have not finished are not compared; their number is shown. To store the changes, run a normalizer
/// with a group of its own (see the README): it stores added and changed readings, and withdraws none.
///
/// Exit code 0 if nothing would change, 1 if something would.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager replay --provider medisante --since 30d
  device-manager replay --provider healthkit --device watch-1 --report diff.json
  device-manager replay --provider medisante --report diff.html    # a page for sign-off")]
pub struct ReplayCommand {
    /// The provider whose raw topics are read.
    #[arg(long, value_parser = provider_name())]
    provider: Provider,
    /// Only records that Kafka received since then: a duration before now, such as 24h or 30d, or a time, such as
    /// 2026-01-31T00:00:00Z.
    #[arg(long)]
    since: Option<Since>,
    /// Only records that Kafka received before that; as --since.
    #[arg(long)]
    until: Option<Since>,
    /// Only readings of this device, by the id that the payload gives.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Only readings of this patient: by the authenticated subject, else by who held the device when it measured.
    #[arg(long, value_name = "ID", value_parser = patient)]
    patient: Option<PatientId>,
    /// Only the payload of this receipt.
    #[arg(long)]
    receipt: Option<String>,
    /// Only payloads that were sent with the API key of this id.
    #[arg(long, value_name = "ID")]
    credential: Option<String>,
    /// Only payloads of this format.
    #[arg(long, value_parser = format_name())]
    format: Option<Format>,
    /// Write the report to this file: as a page if its name ends with .html, otherwise as JSON with every reading that differs.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
    /// The number of partitions that are read at the same time. By default the number of cores.
    #[arg(long)]
    parallel: Option<NonZeroUsize>,
    /// The maximum number of raw records per second, so that live traffic keeps its latency. By default without limit.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    records_per_second: Option<u32>,
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The file with the secret that signs receipts; the same as the ingress's.
    #[arg(long, env = "RECEIPT_KEY_FILE", default_value = ".device-manager/receipt.key")]
    receipt_key_file: PathBuf,
    /// The topic epoch of the raw topics; the same as the ingress's.
    #[arg(long, env = "TOPIC_EPOCH", default_value_t = 0)]
    topic_epoch: u16,
}

fn patient(text: &str) -> Result<PatientId, String> {
    PatientId::parse(text).map_err(|error| error.to_string())
}

/// The report as JSON.
#[derive(Serialize)]
struct Report<'d> {
    /// What was compared.
    scope: &'d str,
    #[serde(flatten)]
    diff: &'d Diff,
}

/// The summary as JSON: the report without the single readings.
#[derive(Serialize)]
struct Summary<'d> {
    added: usize,
    changed: usize,
    withdrawn: usize,
    #[serde(flatten)]
    report: Report<'d>,
}

/// Runs the command.
///
/// # Errors
/// The receipt is not one of this installation, Kafka or the database does not answer, or the report cannot be written.
pub async fn run(args: ReplayCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let secret = receipt_secret(&args.receipt_key_file)?;
    let receipt_key = ReceiptKey::new(&secret).map_err(CommandError::usage)?;
    let position =
        args.receipt.as_deref().map(|word| receipt_key.read(word)).transpose().map_err(CommandError::usage)?;
    let (scope, described) = scope(&args, position);
    let cluster = args.kafka.cluster()?;
    reach(&cluster.settings).await?;
    let normalizer = config(cluster, "device-manager-replay".to_owned(), args.topic_epoch, &secret)?;
    let parallel = args.parallel.unwrap_or(normalizer.threads);
    let connections = u32::try_from(parallel.get()).unwrap_or(u32::MAX).saturating_add(1);
    let pool = PgPoolOptions::new().max_connections(connections).connect_with(database(&args.database_url)?).await?;
    let config = ReplayConfig { scope, normalizer, receipt_key, parallel, records_per_second: args.records_per_second };
    let progress = Arc::new(Progress::default());
    let shown = tokio::spawn(show(Arc::clone(&progress)));
    let compared = ::replay::run(config, pool, progress).await;
    shown.abort();
    let diff = compared.map_err(|error| CommandError::failed("comparing", chain(&error)))?;
    write_report(&args, &diff, &described)?;
    let code = ExitCode::from(u8::from(!diff.is_empty()));
    print(&args, diff, &described, output)?;
    Ok(code)
}

/// Returns the scope, and its description for the report. The description names no patient.
fn scope(args: &ReplayCommand, receipt: Option<ItemPosition>) -> (Scope, String) {
    let now = OffsetDateTime::now_utc();
    let scope = Scope {
        since: args.since.as_ref().map(|since| since.moment(now)),
        until: args.until.as_ref().map(|until| until.moment(now)),
        device: args.device.clone(),
        patient: args.patient.clone(),
        receipt,
        credential: args.credential.clone(),
        format: args.format,
        ..Scope::of(args.provider)
    };
    let conditions = [
        args.since.as_ref().map(|since| format!("since {since}")),
        args.until.as_ref().map(|until| format!("until {until}")),
        args.device.as_ref().map(|device| format!("device {device}")),
        args.patient.as_ref().map(|_| "one patient".to_owned()),
        args.receipt.as_ref().map(|receipt| format!("receipt {receipt}")),
        args.credential.as_ref().map(|credential| format!("credential {credential}")),
        args.format.map(|format| format!("format {}", format.as_str())),
    ];
    let all = [format!("all records of {}", args.provider.as_str())];
    (scope, all.into_iter().chain(conditions.into_iter().flatten()).collect::<Vec<_>>().join(", "))
}

/// Shows the progress: as a bar on a terminal, otherwise as lines.
async fn show(progress: Arc<Progress>) {
    let bar = ProgressBar::new(0);
    let template = "{msg} {wide_bar} {pos} of {len} records, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message("comparing");
    let mut elapsed = Duration::ZERO;
    loop {
        tokio::time::sleep(REFRESH).await;
        elapsed += REFRESH;
        let (read, total) = (progress.read.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
        bar.set_length(total);
        bar.set_position(read);
        if bar.is_hidden() && elapsed >= REPORT {
            remark(&format!("comparing: {read} of {total} records"));
            elapsed = Duration::ZERO;
        }
    }
}

fn write_report(args: &ReplayCommand, diff: &Diff, scope: &str) -> Result<(), CommandError> {
    let Some(file) = &args.report else { return Ok(()) };
    let is_page = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("html"));
    let text = if is_page { Ok(page(diff, scope)) } else { serde_json::to_string_pretty(&Report { scope, diff }) };
    let text = text.map_err(|error| CommandError::failed("writing the report", error))?;
    fs::write(file, text).map_err(|error| CommandError::failed("writing the report", error))?;
    remark(&format!("the report is in {}", file.display()));
    Ok(())
}

fn print(args: &ReplayCommand, diff: Diff, scope: &str, output: &mut Output) -> Result<(), CommandError> {
    let [added, changed, withdrawn] =
        [ChangeKind::Added, ChangeKind::Changed, ChangeKind::Withdrawn].map(|kind| diff.count(kind));
    if args.json {
        let diff = &Diff { changes: Vec::<Change>::new(), ..diff };
        output.json(&Summary { added, changed, withdrawn, report: Report { scope, diff } })?;
        return Ok(());
    }
    output
        .line(&format!("compared: {scope}, {} raw records, mapping version {}", diff.records, diff.mapping_version))?;
    output.line(&format!(
        "items: {} unchanged, {} with a later version, {} in flight",
        diff.unchanged, diff.superseded, diff.in_flight
    ))?;
    output.line(&format!("readings: {added} added, {changed} changed, {withdrawn} withdrawn"))?;
    for group in &diff.groups {
        output.line(&line(group))?;
    }
    output.line(&format!("refused items: {} unchanged", diff.refusals.unchanged))?;
    for (what, reasons) in
        [("newly refused", &diff.refusals.newly_refused), ("newly accepted", &diff.refusals.newly_accepted)]
    {
        for (reason, items) in reasons {
            output.line(&format!("  {what}: {items} ({reason})"))?;
        }
    }
    if diff.unfinished_records > 0 {
        output.line(&format!(
            "{} raw records are not finished by the stages yet and were not compared; see /ready",
            diff.unfinished_records
        ))?;
    }
    if diff.deleted_records > 0 {
        output.line(&format!("{} raw records no longer exist", diff.deleted_records))?;
    }
    Ok(())
}

fn line(group: &Group) -> String {
    let Group { kind, code, display, device, readings, fields, receipt, .. } = group;
    let kind = kind.as_str();
    let fields: Vec<String> = fields.iter().map(|(field, count)| format!("{field:?} {count}").to_lowercase()).collect();
    let (display, device) = (display.as_deref().unwrap_or_default(), device.as_deref().unwrap_or("no device"));
    let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
    format!("  {kind}: {readings} × {code} {display}, {device}{fields}, first receipt {receipt}")
}
