//! `device-manager reconcile`: shows that nothing is missing.

use std::{num::NonZeroUsize, process::ExitCode, sync::Arc};

use ::replay::{
    Progress, ReplayError,
    reconcile::{Counts, Extent, Finding, FindingKind, ReconcileConfig, Reconciliation, reconcile},
};
use clap::Args;
use schemas::format::RawTopic;
use sqlx::postgres::PgPoolOptions;
use time::OffsetDateTime;

use super::{
    catalogue_file::CatalogueArgs,
    database,
    installation::InstallationArgs,
    normalizer::config,
    replay::progress::show,
    since::{Since, span},
};
use crate::{
    error::{CommandError, chain},
    output::{Output, counted},
};

/// Compare the raw records on Kafka with Postgres, and list what is missing or stored twice.
///
/// Each raw record has one outcome, which promises a number of readings, of refused items and of device commands. For each record,
/// the promised readings must be the items that are stored, superseded by another version, duplicates of a stored reading, or refused
/// by a sink; the promised refusals must be dead letters; and the promised commands must have a verdict. No row may name a raw record
/// that Kafka does not have. The command joins no consumer group and changes nothing.
///
/// Records that the stages have not finished are counted as in flight, and not as missing. The items that differ are named by mapping
/// their record again, if this release maps it as its outcome says; otherwise their number is shown. `docs/reconciliation.md` describes
/// each kind of finding and its remedy.
///
/// Exit code 0 if everything balances, 1 if not, 2 if there is no such topic, partition or offset.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager reconcile
  device-manager reconcile --since 24h --json | jq .found
  device-manager reconcile --topic raw.healthkit --partition 2 --from 4000 --to 5000")]
pub struct ReconcileCommand {
    /// Only this raw topic, without a prefix: raw.medisante, raw.healthkit, raw.devices or raw.uploads.
    #[arg(long, value_parser = topic)]
    topic: Option<RawTopic>,
    /// Only this partition of the topic.
    #[arg(long, requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Only raw records from this offset on.
    #[arg(long, value_name = "OFFSET", requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    from: Option<i64>,
    /// Only raw records before this offset.
    #[arg(long, value_name = "OFFSET", requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    to: Option<i64>,
    /// Only records that Kafka received since then: a duration before now, such as 24h or 30d, or a time, such as
    /// 2026-01-31T00:00:00Z.
    #[arg(long)]
    since: Option<Since>,
    /// Only records that Kafka received before that; as --since.
    #[arg(long)]
    until: Option<Since>,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
    /// The number of partitions that are compared at the same time.
    #[arg(long, default_value = "2")]
    parallel: NonZeroUsize,
    #[command(flatten)]
    catalogue: CatalogueArgs,
    #[command(flatten)]
    installation: InstallationArgs,
    /// The consumer group that all normalizers of the installation share.
    #[arg(long, env = "NORMALIZER_GROUP", default_value = "device-manager-normalizer")]
    group: String,
}

fn topic(word: &str) -> Result<RawTopic, String> {
    let words: Vec<&str> = RawTopic::ALL.iter().map(|topic| topic.as_str()).collect();
    RawTopic::from_word(word).ok_or_else(|| format!("the raw topics are {}", words.join(", ")))
}

/// Runs the command.
///
/// # Errors
/// What is to be compared does not exist, the normalizers' group has committed nothing, Kafka or the database does not answer, or the sinks
/// do not write what is on the event topics.
pub async fn run(args: ReconcileCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let (since, until) = span(args.since.as_ref(), args.until.as_ref(), OffsetDateTime::now_utc())?;
    args.catalogue.install()?;
    let (secret, receipt_key) = args.installation.secret()?;
    let cluster = args.installation.cluster().await?;
    let extent = Extent {
        partition: args.partition,
        from: args.from,
        to: args.to,
        since,
        until,
        ..Extent::of(args.topic.map_or_else(|| RawTopic::ALL.to_vec(), |topic| vec![topic]))
    };
    let normalizer = config(cluster, args.group.clone(), args.installation.topic_epoch, &secret)?;
    let connections = u32::try_from(args.parallel.get()).unwrap_or(u32::MAX).saturating_add(1);
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .connect_with(database(&args.installation.database_url)?)
        .await?;
    let config = ReconcileConfig { extent, normalizer, receipt_key, parallel: args.parallel };
    let progress = Arc::new(Progress::default());
    let shown = tokio::spawn(show("comparing", Arc::clone(&progress)));
    let compared = reconcile(config, pool, progress).await;
    shown.abort();
    let result = compared.map_err(|error| match error {
        ReplayError::Extent(why) => CommandError::usage(why),
        error => CommandError::failed("comparing", chain(&error)),
    })?;
    if args.json {
        output.json(&result)?;
    } else {
        print(&result, output)?;
    }
    Ok(ExitCode::from(u8::from(!result.balanced)))
}

fn print(result: &Reconciliation, output: &mut Output) -> Result<(), CommandError> {
    for (topic, counts) in &result.topics {
        for line in lines(topic, counts) {
            output.line(&line)?;
        }
    }
    for other in &result.other_epochs {
        output.line(&format!(
            "{}: {} records of the topic epoch {} were not compared, because Kafka no longer has them",
            other.topic, other.records, other.topic_epoch
        ))?;
    }
    for finding in &result.findings {
        output.line(&line(finding))?;
    }
    if result.findings.len() == Reconciliation::LISTED_MAX {
        output.line("more was found than is listed")?;
    }
    if result.balanced {
        let is_empty = result.topics.values().all(|counts| *counts == Counts::default());
        output.line(if is_empty { "no raw record is in what was compared" } else { "everything balances" })?;
    }
    for (kind, count) in &result.found {
        output.line(&format!("{}: {count}", kind.as_str()))?;
    }
    Ok(())
}

fn lines(topic: &str, counts: &Counts) -> Vec<String> {
    let others = [(counts.without_value, "without a value"), (counts.deleted, "no longer exist")];
    let others = others.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
    let records = format!(
        "{topic}: {} records compared, {} in flight{}",
        counts.records,
        counts.in_flight,
        others.collect::<String>()
    );
    let mut lines = vec![records];
    if topic == RawTopic::Devices.as_str() {
        lines.push(format!(
            "  commands: {} promised; {} stored, {} refused by the sink",
            counts.promised_commands, counts.commands, counts.refused_by_sink
        ));
    } else {
        lines.push(format!(
            "  readings: {} promised; {} stored, {} superseded, {} duplicates, {} refused by the sink",
            counts.promised_readings, counts.stored, counts.superseded, counts.duplicates, counts.refused_by_sink
        ));
    }
    lines.push(format!("  refused: {} promised; {} dead letters", counts.promised_rejections, counts.refused));
    lines
}

fn line(finding: &Finding) -> String {
    let Finding { kind, topic, partition, first_offset, last_offset, receipt, item, reading_id, count, stored_in } =
        finding;
    let offsets = if first_offset == last_offset {
        format!("offset {first_offset}")
    } else {
        format!("offsets {first_offset} to {last_offset}")
    };
    let what = match (item, stored_in) {
        (Some(-1), _) => ", the whole payload".to_owned(),
        (Some(item), _) => format!(", item {item}"),
        (None, Some(table)) => format!(", {count} in {table}"),
        (None, None) => format!(", {}", counted(i64::try_from(*count).unwrap_or(i64::MAX), noun(*kind))),
    };
    let reading = reading_id.map(|id| format!(", reading {id}")).unwrap_or_default();
    format!("{}: {topic} partition {partition} {offsets}{what}{reading}, receipt {receipt}", kind.as_str())
}

/// What a finding counts that names no item.
const fn noun(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::MissingOutcome | FindingKind::DeletedUnread | FindingKind::NoRawRecord => "raw record",
        FindingKind::MissingCommand => "command",
        FindingKind::MissingReading
        | FindingKind::MissingDocument
        | FindingKind::MissingDeadLetter
        | FindingKind::StoredTwice
        | FindingKind::NotPromised => "item",
    }
}
