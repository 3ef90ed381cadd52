//! `device-manager dead-letters redrive`.

use std::{collections::BTreeSet, num::NonZeroUsize, process::ExitCode, sync::Arc};

use ::replay::{Progress, Redriven, ReplayConfig};
use clap::Args;
use normalizer::check_catalogue;
use schemas::receipt::RawPosition;
use sqlx::{PgPool, postgres::PgPoolOptions};
use store::dead_letters::{self, Letter, LetterId, LetterState};

use super::{FilterArgs, find, line, show};
use crate::{
    command::{
        catalogue_file::CatalogueArgs, database, installation::InstallationArgs, normalizer::config,
        operator::OperatorArgs, replay::progress,
    },
    error::{CommandError, chain},
    output::{Output, counted, remark},
};

/// The number of dead letters that one call redrives.
const LETTERS_MAX: i64 = 10_000;
/// The maximum number of raw records per second, so that live traffic keeps its latency.
const RECORDS_PER_SECOND: u32 = 2_000;

/// Map the raw records of dead letters again with the current mapping, and store the result.
///
/// The payload is read from the raw topic. What the mapping accepts now is stored and resolves the dead letter; what it refuses again
/// counts as an attempt, and the dead letter is open again. The command waits for the sinks and shows what became of each. Other
/// differences of these records are applied, too, as by `replay --apply`. A command that was killed is continued by the same command.
///
/// Exit code 0 if all are resolved, 1 if some are not.
#[derive(Args)]
pub(super) struct RedriveCommand {
    /// The ids, as `dead-letters list` shows them. Without ids, the conditions select the dead letters.
    #[arg(value_name = "ID", conflicts_with_all = ["reason", "device", "provider", "source", "since", "until"])]
    ids: Vec<LetterId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    catalogue: CatalogueArgs,
    #[command(flatten)]
    operator: OperatorArgs,
    #[command(flatten)]
    installation: InstallationArgs,
}

pub(super) async fn run(args: &RedriveCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    args.catalogue.install()?;
    let operator = args.operator.name()?;
    let (secret, receipt_key) = args.installation.secret()?;
    if args.ids.is_empty() && !args.filter.is_restricted() {
        return Err(CommandError::usage(
            "name dead letters, or select them with --reason, --device, --source or another condition",
        ));
    }
    let cluster = args.installation.cluster().await?;
    let normalizer = config(cluster, "device-manager-replay".to_owned(), args.installation.topic_epoch, &secret)?;
    let checked = check_catalogue(&normalizer).await;
    checked.map_err(|error| CommandError::failed("checking the catalogue", chain(&error)))?;
    let parallel = normalizer.threads;
    let pool = PgPoolOptions::new()
        .max_connections(connections(parallel))
        .connect_with(database(&args.installation.database_url)?);
    let pool = pool.await?;
    let letters = letters(args, &mut *pool.acquire().await?).await?;
    let mut unsettled = letters.iter().filter(|letter| LetterState::UNSETTLED.contains(&letter.state));
    unsettled.try_for_each(|letter| require_record(letter, args.installation.topic_epoch))?;
    for letter in letters.iter().filter(|letter| letter.state == LetterState::Discarded) {
        remark(&format!("{} is discarded, so that it is not redriven", letter.id));
    }
    let config = ReplayConfig { normalizer, receipt_key, parallel, records_per_second: Some(RECORDS_PER_SECOND) };
    let became = redrive(config, &pool, &letters, &operator).await?;
    for letter in &became {
        print(args, letter, output)?;
    }
    let is_resolved = became.iter().all(|letter| letter.state == LetterState::Resolved);
    Ok(ExitCode::from(u8::from(!is_resolved)))
}

/// Redrives dead letters. Returns what became of them, and the dead letters that the redrive has added.
async fn redrive(
    config: ReplayConfig,
    pool: &PgPool,
    letters: &[Letter],
    operator: &str,
) -> Result<Vec<Letter>, CommandError> {
    let progress = Arc::new(Progress::default());
    let shown = tokio::spawn(progress::show("redriving", Arc::clone(&progress)));
    let redriven = ::replay::redrive(config, pool, letters, operator, progress).await;
    shown.abort();
    let Redriven { replays, gone } = redriven.map_err(|error| CommandError::failed("redriving", chain(&error)))?;
    for letter in letters.iter().filter(|letter| letter.raw_record.is_some_and(|raw| gone.contains(&raw))) {
        remark(&format!("{}: its raw record no longer exists, so that nothing can map it again", letter.id));
    }
    let mut connection = pool.acquire().await?;
    let records: BTreeSet<RawPosition> = letters.iter().filter_map(|letter| letter.raw_record).collect();
    let mut became = Vec::new();
    for raw in &records {
        let of_record = dead_letters::of_record(&mut connection, raw).await?;
        let is_of = |one: &Letter| replays.contains(&one.replay) || letters.iter().any(|letter| letter.id == one.id);
        became.extend(of_record.into_iter().filter(is_of));
    }
    became.extend(letters.iter().filter(|letter| letter.raw_record.is_none()).cloned());
    Ok(became)
}

fn connections(parallel: NonZeroUsize) -> u32 {
    u32::try_from(parallel.get()).unwrap_or(u32::MAX).saturating_add(3)
}

fn print(args: &RedriveCommand, letter: &Letter, output: &mut Output) -> Result<(), CommandError> {
    let printed = if args.json { output.json(&show::object(letter)) } else { output.line(&line(letter)) };
    Ok(printed?)
}

/// Returns the dead letters that are named, or that the conditions select.
async fn letters(args: &RedriveCommand, connection: &mut sqlx::PgConnection) -> Result<Vec<Letter>, CommandError> {
    if !args.ids.is_empty() {
        let mut letters = Vec::with_capacity(args.ids.len());
        for id in &args.ids {
            letters.push(find(connection, id).await?);
        }
        return Ok(letters);
    }
    let letters = dead_letters::list(connection, &args.filter.filter(), LETTERS_MAX).await?;
    remark(&counted(i64::try_from(letters.len()).unwrap_or(i64::MAX), "dead letter"));
    if letters.len() as u64 == LETTERS_MAX.cast_unsigned() {
        remark("there may be more: run the command again afterwards");
    }
    Ok(letters)
}

/// Checks that the raw record of a dead letter exists, as far as is known.
fn require_record(letter: &Letter, topic_epoch: u16) -> Result<(), CommandError> {
    let cannot = |why: &str| CommandError::failed("nothing was redriven", format!("{}: {why}", letter.id));
    let raw = letter.raw_record.ok_or_else(|| cannot("no raw record is known for it"))?;
    if raw.topic_epoch == i32::from(topic_epoch) {
        Ok(())
    } else {
        Err(cannot("its raw record was on an earlier topic, with another topic epoch (TOPIC_EPOCH)"))
    }
}
