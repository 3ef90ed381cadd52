//! `device-manager replay`: shows what the current mapping would change, and changes it.

mod print;
pub(super) mod progress;
mod report;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, sync::Arc};

use ::replay::{Progress, ReplayConfig, Scope};
use clap::{Args, Subcommand};
use normalizer::check_catalogue;
use schemas::{
    event::{DeviceId, PatientId},
    format::{Defaults, Format, Provider},
    receipt::ReceiptKey,
};
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};
use store::{audit, replay::JobState};
use time::OffsetDateTime;

use self::report::{ReportArgs, ReportFile, write_report};
use super::{
    KafkaArgs,
    catalogue_file::CatalogueArgs,
    database, format_name,
    normalizer::config,
    operator::OperatorArgs,
    provider_name, reach, receipt_secret,
    since::{Since, span},
};
use crate::{
    error::{CommandError, chain},
    output::{Output, remark},
};

/// The number of records per second that are applied if the operator gives no other.
const APPLY_RATE: u32 = 2_000;

/// Map raw records again, show what the current mapping would change, and change it.
///
/// `replay --provider` reads every raw record of the scope from Kafka again, maps it, and compares the result with the database. It joins
/// no consumer group and changes no reading. A reading counts as
///
/// - added if the mapping produces it and it is not stored,
/// - changed if the mapping produces it with other fields,
/// - withdrawn if it is stored and no raw record yields it.
///
/// The result has a number. `replay --apply NUMBER` publishes these changes, and no others, to the event topics; the sinks store them.
/// It changes nothing if the database is not as it was when it was compared. A changed reading becomes a new version, a withdrawn one is
/// marked, and the function readings_as_of returns what was known before. A killed replay continues with `--resume NUMBER` or
/// `--apply NUMBER`.
///
/// Records that the stages have not finished are not compared; their number is shown.
///
/// Exit code 0 if nothing would change or the changes are applied, 1 if something would change.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  . .device-manager/env; device-manager replay --provider medisante --since 30d
  device-manager replay --provider healthkit --device watch-1 --report diff.json
  device-manager replay --provider medisante --report diff.html    # a page for sign-off
  device-manager replay --apply 7
  device-manager replay list"
)]
pub struct ReplayCommand {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    run: RunArgs,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    database_url: Option<String>,
    /// The file with the secret that signs receipts; the same as the ingress's.
    #[arg(long, env = "RECEIPT_KEY_FILE", default_value = ".device-manager/receipt.key", global = true)]
    receipt_key_file: PathBuf,
}

#[derive(Subcommand)]
enum Action {
    /// List the replays.
    List {
        /// Print one JSON object for each replay.
        #[arg(long)]
        json: bool,
    },
    /// Show what a replay would change, or has changed.
    Show {
        /// The number of the replay.
        replay: i32,
        #[command(flatten)]
        report: ReportArgs,
    },
    /// End a replay. What it has published stays; compare again to see what is left to do.
    Abort {
        /// The number of the replay.
        replay: i32,
    },
}

#[derive(Args)]
struct RunArgs {
    /// Compare the raw topics of this provider.
    #[arg(long, value_parser = provider_name(), required_unless_present_any = ["resume", "apply"])]
    provider: Option<Provider>,
    /// Continue the comparison of this replay, which was killed.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["provider", "apply"])]
    resume: Option<i32>,
    /// Apply this replay, or continue to.
    #[arg(long, value_name = "NUMBER", conflicts_with = "provider")]
    apply: Option<i32>,
    /// Only records that Kafka received since then: a duration before now, such as 24h or 30d, or a time, such as
    /// 2026-01-31T00:00:00Z.
    #[arg(long, requires = "provider", conflicts_with_all = ["resume", "apply"])]
    since: Option<Since>,
    /// Only records that Kafka received before that; as --since.
    #[arg(long, requires = "provider", conflicts_with_all = ["resume", "apply"])]
    until: Option<Since>,
    /// Only records with a reading of this device, or a command for it; by the id that the payload gives. All differences of such a
    /// record are shown and applied.
    #[arg(long, value_name = "ID", value_parser = device, requires = "provider", conflicts_with_all = ["resume", "apply"])]
    device: Option<DeviceId>,
    /// Only records with a reading of this patient: by the authenticated subject, else by who held the device when it measured. All
    /// differences of such a record are shown and applied.
    #[arg(long, value_name = "ID", value_parser = patient, requires = "provider", conflicts_with_all = ["resume", "apply"])]
    patient: Option<PatientId>,
    /// Only the payload of this receipt.
    #[arg(long, requires = "provider", conflicts_with_all = ["resume", "apply"])]
    receipt: Option<String>,
    /// Only payloads that were sent with the API key of this id.
    #[arg(long, value_name = "ID", requires = "provider", conflicts_with_all = ["resume", "apply"])]
    credential: Option<String>,
    /// Only payloads of this format.
    #[arg(long, value_parser = format_name(), requires = "provider", conflicts_with_all = ["resume", "apply"])]
    format: Option<Format>,
    /// The library whose documented defaults apply to HealthKit samples without a unit, where the raw record declares none:
    /// react-native-health.
    #[arg(long, value_name = "DEFAULTS", value_parser = defaults, requires = "provider", conflicts_with_all = ["resume", "apply"])]
    defaults: Option<Defaults>,
    /// Show values of up to three readings for each kind of difference, code and device. This is recorded in the table audit.
    #[arg(long, conflicts_with = "apply")]
    reveal: bool,
    #[command(flatten)]
    report: ReportArgs,
    /// The number of partitions that are read at the same time. By default the number of cores.
    #[arg(long)]
    parallel: Option<NonZeroUsize>,
    /// The maximum number of raw records per second, so that live traffic keeps its latency. By default 2,000 with --apply, and without
    /// limit otherwise.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    records_per_second: Option<u32>,
    #[command(flatten)]
    catalogue: CatalogueArgs,
    #[command(flatten)]
    operator: OperatorArgs,
    /// The brokers as host:port,host:port. Further KAFKA_ variables set how to connect to them.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    kafka_bootstrap_servers: Option<String>,
    /// A prefix of every topic name, for installations that share a cluster.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    topic_prefix: String,
    /// The topic epoch of the raw topics; the same as the ingress's.
    #[arg(long, env = "TOPIC_EPOCH", default_value_t = 0)]
    topic_epoch: u16,
}

fn device(text: &str) -> Result<DeviceId, String> {
    DeviceId::parse(text).map_err(|error| error.to_string())
}

fn patient(text: &str) -> Result<PatientId, String> {
    PatientId::parse(text).map_err(|error| error.to_string())
}

fn defaults(word: &str) -> Result<Defaults, &'static str> {
    Defaults::parse(word).ok_or("react-native-health")
}

/// Runs the command.
///
/// # Errors
/// The receipt is not one of this installation, the replay does not exist or cannot be applied, Kafka or the database does not answer, or
/// the report cannot be written.
pub async fn run(args: ReplayCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let url = args.database_url.as_deref().ok_or_else(|| missing("--database-url", "DATABASE_URL"))?;
    match args.action {
        Some(Action::List { json }) => {
            let jobs = store::replay::jobs(&mut *pool(url, 1).await?.acquire().await?).await?;
            print::jobs(&jobs, json, output)?;
        }
        Some(Action::Show { replay, report }) => {
            let key = ReceiptKey::new(&receipt_secret(&args.receipt_key_file)?).map_err(CommandError::usage)?;
            let file = ReportFile::open(&report)?;
            let pool = pool(url, 1).await?;
            let diff =
                ::replay::diff(&pool, replay, &key).await.map_err(|error| failed("showing the replay", &error))?;
            write_report(file, &diff, &pool, &key).await?;
            print::diff(&diff, &[], report.json, output)?;
        }
        Some(Action::Abort { replay }) => {
            let aborted = ::replay::abort(&pool(url, 1).await?, replay).await;
            aborted.map_err(|error| failed("aborting the replay", &error))?;
            output.line(&format!("the replay {replay} is aborted"))?;
        }
        None => return start(args.run, url, &receipt_secret(&args.receipt_key_file)?, output).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn missing(argument: &str, variable: &str) -> CommandError {
    CommandError::usage(format!("{argument} is required, or the variable {variable}"))
}

fn failed(what: &'static str, error: &::replay::ReplayError) -> CommandError {
    CommandError::failed(what, chain(error))
}

async fn pool(url: &str, connections: u32) -> Result<PgPool, CommandError> {
    let options = PgPoolOptions::new().max_connections(connections);
    Ok(options.connect_with(database(url)?).await?)
}

/// Compares or applies.
async fn start(args: RunArgs, url: &str, secret: &[u8; 32], output: &mut Output) -> Result<ExitCode, CommandError> {
    args.catalogue.install()?;
    let file = ReportFile::open(&args.report)?;
    let key = ReceiptKey::new(secret).map_err(CommandError::usage)?;
    let scope = args.provider.map(|provider| scope(&args, provider, &key)).transpose()?;
    let bootstrap = args.kafka_bootstrap_servers.clone();
    let kafka = KafkaArgs {
        kafka_bootstrap_servers: bootstrap
            .ok_or_else(|| missing("--kafka-bootstrap-servers", "KAFKA_BOOTSTRAP_SERVERS"))?,
        topic_prefix: args.topic_prefix.clone(),
    };
    let cluster = kafka.cluster()?;
    reach(&cluster.settings).await?;
    let normalizer = config(cluster, "device-manager-replay".to_owned(), args.topic_epoch, secret)?;
    let checked = check_catalogue(&normalizer).await;
    checked.map_err(|error| CommandError::failed("checking the catalogue", chain(&error)))?;
    let parallel = args.parallel.unwrap_or(normalizer.threads);
    let pool = pool(url, u32::try_from(parallel.get()).unwrap_or(u32::MAX).saturating_add(2)).await?;
    let records_per_second = args.records_per_second.or_else(|| args.apply.map(|_| APPLY_RATE));
    let replay = ReplayConfig { normalizer, receipt_key: key.clone(), parallel, records_per_second };
    match (args.apply, args.resume, scope) {
        (Some(id), ..) => apply(&args, (id, file), replay, &pool, output).await,
        (None, Some(id), _) => compare(&args, (id, file), replay, &pool, output).await,
        (None, None, Some(scope)) => {
            let started = ::replay::start(&replay, &pool, &scope, &args.operator.name()?).await;
            let id = started.map_err(|error| failed("comparing", &error))?;
            remark(&format!("this is replay {id}; if it is killed, --resume {id} continues it"));
            compare(&args, (id, file), replay, &pool, output).await
        }
        (None, None, None) => Err(CommandError::usage("name the provider with --provider")),
    }
}

async fn apply(
    args: &RunArgs,
    (id, file): (i32, Option<ReportFile<'_>>),
    config: ReplayConfig,
    pool: &PgPool,
    output: &mut Output,
) -> Result<ExitCode, CommandError> {
    let (progress, key) = (Arc::new(Progress::default()), config.receipt_key.clone());
    let shown = tokio::spawn(progress::show("applying", Arc::clone(&progress)));
    let applied = ::replay::apply(config, pool, id, progress).await;
    shown.abort();
    let diff = applied.map_err(|error| failed("applying the replay", &error))?;
    write_report(file, &diff, pool, &key).await?;
    print::diff(&diff, &[], args.report.json, output)?;
    Ok(ExitCode::SUCCESS)
}

async fn compare(
    args: &RunArgs,
    (id, file): (i32, Option<ReportFile<'_>>),
    config: ReplayConfig,
    pool: &PgPool,
    output: &mut Output,
) -> Result<ExitCode, CommandError> {
    if args.reveal {
        require_comparing(&mut *pool.acquire().await?, id).await?;
        let detail = format!("replay {id}: values of differing readings");
        let operator = args.operator.name()?;
        audit::record(&mut *pool.acquire().await?, &operator, "replay --reveal", &detail).await?;
    }
    let (progress, key) = (Arc::new(Progress::default()), config.receipt_key.clone());
    let shown = tokio::spawn(progress::show("comparing", Arc::clone(&progress)));
    let compared = ::replay::compare(config, pool, id, progress, args.reveal).await;
    shown.abort();
    let (diff, examples) = compared.map_err(|error| failed("comparing", &error))?;
    write_report(file, &diff, pool, &key).await?;
    print::diff(&diff, &examples, args.report.json, output)?;
    if diff.counts.is_without_records() {
        remark("no raw record is in the scope: see --topic-prefix and the conditions");
    }
    let is_applied = diff.state == JobState::Applied.as_str();
    if is_applied {
        remark(&format!("the replay {id} is applied: these changes are made"));
    } else if diff.state == JobState::Applying.as_str() {
        remark(&format!("a part of these changes is made; `device-manager replay --apply {id}` makes the others"));
    } else if !diff.is_empty() {
        remark(&format!("nothing was changed; `device-manager replay --apply {id}` makes these changes"));
    }
    Ok(ExitCode::from(u8::from(!diff.is_empty() && !is_applied)))
}

/// Checks that a replay still compares records: values are shown while they are compared, and are not stored.
async fn require_comparing(connection: &mut PgConnection, id: i32) -> Result<(), CommandError> {
    match store::replay::job(connection, id).await? {
        Some(job) if job.state != JobState::Comparing => {
            let why =
                format!("the replay {id} is {} already; values are shown while a replay compares", job.state.as_str());
            Err(CommandError::failed("nothing is shown", why))
        }
        _ => Ok(()),
    }
}

fn scope(args: &RunArgs, provider: Provider, key: &ReceiptKey) -> Result<Scope, CommandError> {
    let (since, until) = span(args.since.as_ref(), args.until.as_ref(), OffsetDateTime::now_utc())?;
    let scope = Scope {
        since,
        until,
        device: args.device.clone(),
        patient: args.patient.clone(),
        receipt: args.receipt.as_deref().map(|word| key.read(word)).transpose().map_err(CommandError::usage)?,
        credential: args.credential.clone(),
        format: args.format,
        defaults: args.defaults,
        ..Scope::of(provider)
    };
    if scope.topics().is_empty() {
        return Err(CommandError::usage(format!("the receipt is not one of {}", provider.as_str())));
    }
    Ok(scope)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        replay: ReplayCommand,
    }

    #[test]
    fn a_replay_that_has_a_number_takes_no_conditions() {
        let is_read = |arguments: &[&str]| Line::try_parse_from([&["replay"], arguments].concat()).is_ok();
        for condition in [
            ["--since", "1h"],
            ["--until", "1h"],
            ["--device", "scale-1"],
            ["--patient", "patient-1"],
            ["--receipt", "x"],
            ["--credential", "key-1"],
            ["--format", "standard-json"],
            ["--defaults", "react-native-health"],
        ] {
            assert!(is_read(&[&["--provider", "medisante"], &condition[..]].concat()), "{condition:?}");
            for number in [["--apply", "7"], ["--resume", "7"]] {
                assert!(is_read(&number));
                assert!(!is_read(&[number, condition].concat()), "{number:?} {condition:?}");
            }
        }
    }
}
