//! `device-manager sink`.

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use ::replay::reconcile::{WatchConfig, watch};
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use schemas::receipt::ReceiptKey;
use service::{backoff::Backoff, cluster::Cluster, health::StageHealth};
use sink::SinkConfig;
use sqlx::{
    Connection as _, PgConnection,
    migrate::MigrateError,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use store::error_class::{ErrorClass, cause, error_class};
use tokio_util::sync::CancellationToken;

use super::{KafkaArgs, accept_gap, database, normalizer::config as normalizer_config, receipt_secret};
use crate::{
    boot::{Process, ProcessArgs, log_ignored_variables},
    error::CommandError,
    output::Output,
};

/// How long Postgres may take to accept the connection for the migrations.
const ANSWER: Duration = Duration::from_secs(10);

/// The stage, or an operator's command for it.
pub enum SinkCommand {
    /// Run the stage.
    Stage(StageArgs),
    /// Accept the loss of events that were deleted before they were written.
    AcceptGap(accept_gap::AcceptGapCommand),
}

#[derive(Subcommand)]
enum Action {
    AcceptGap(accept_gap::AcceptGapCommand),
}

/// Write events to Postgres.
///
/// The position of the sink is in Postgres, in the transaction of each batch: a crash, a second sink or an older dump
/// neither loses nor duplicates a row. Run up to as many sinks as the event topics have partitions.
#[derive(Args)]
pub struct StageArgs {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The address of the database, postgres://user:password@host:port/name. Preferably set in the environment.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The consumer group that all sinks of an installation share.
    #[arg(long, env = "SINK_GROUP", default_value = "device-manager-sink")]
    group: String,
    /// The file with the secret that signs receipts; the same as the ingress's.
    #[arg(long, env = "RECEIPT_KEY_FILE")]
    receipt_key_file: PathBuf,
    /// Migrate the database to the tables of this release before starting. Waits for a Postgres that is not reachable.
    #[arg(long, env = "SINK_MIGRATE")]
    migrate: bool,
    /// The consumer group that all normalizers of the installation share. What they have finished is compared with what is stored.
    #[arg(long, env = "NORMALIZER_GROUP", default_value = "device-manager-normalizer")]
    normalizer_group: String,
    /// The time between two comparisons of what outcomes promise with what is stored, in seconds. The metric
    /// device_manager_unaccounted_total counts what they find.
    #[arg(long, env = "ACCOUNT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    account_seconds: u64,
}

/// Implemented by hand: where a subcommand is possible, derived code treats arguments that only the environment sets as
/// absent.
impl FromArgMatches for SinkCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches.subcommand().is_some() {
            return Action::from_arg_matches(matches).map(|Action::AcceptGap(args)| Self::AcceptGap(args));
        }
        StageArgs::from_arg_matches(matches).map(Self::Stage)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SinkCommand {
    fn augment_args(command: Command) -> Command {
        Action::augment_subcommands(StageArgs::augment_args(command))
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Runs the stage until SIGTERM, or runs the subcommand.
///
/// # Errors
/// An error that waiting does not resolve.
pub async fn run(args: SinkCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    match args {
        SinkCommand::Stage(args) => run_stage(args).await,
        SinkCommand::AcceptGap(args) => accept_gap::run(args, output).await,
    }
}

async fn run_stage(args: StageArgs) -> Result<ExitCode, CommandError> {
    let cluster = args.kafka.cluster_of_stage()?;
    let secret = receipt_secret(&args.receipt_key_file)?;
    let watch_config = watch_config(cluster.clone(), &args, &secret)?;
    let config = config(cluster, args.database_url.clone(), args.group, &secret)?;
    let database = database(&args.database_url)?;
    let mut process = Process::boot(&args.process).await?;
    log_ignored_variables(&config.kafka);
    let (health, shutdown) = (process.health.stage("sink"), process.shutdown.clone());
    process.stage("the comparison of outcomes with rows", watch(watch_config, shutdown.clone()));
    process.stage("the sink", async move {
        if args.migrate && !migrate(database, &health, &shutdown).await? {
            return Ok(());
        }
        ::sink::run(config, health, shutdown).await.map_err(Box::<dyn Error + Send + Sync>::from)
    });
    process.wait().await.map(|()| ExitCode::SUCCESS)
}

/// Migrates the database to the tables of this release, as soon as Postgres answers. Returns false if asked to stop before
/// that.
async fn migrate(
    database: PgConnectOptions,
    health: &StageHealth,
    shutdown: &CancellationToken,
) -> Result<bool, MigrateError> {
    let mut backoff = Backoff::default();
    loop {
        // A new one for each attempt: a session that was begun while the database was read-only, or on a server that is a standby
        // since then, stays read-only.
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ANSWER).connect_lazy_with(database.clone());
        // A pool reports only its timeout, not the error behind it.
        let connected = match PgConnection::connect_with(&pool.connect_options()).await {
            Ok(connection) => connection.close().await,
            Err(error) => Err(error),
        };
        let error = match connected {
            Ok(()) => match store::migrate::migrate(&pool).await {
                Ok(()) => {
                    pool.close().await;
                    return Ok(true);
                }
                Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _))
                    if error_class(&error) == ErrorClass::Outage =>
                {
                    error
                }
                Err(error) => return Err(error),
            },
            Err(error) if matches!(error_class(&error), ErrorClass::Outage | ErrorClass::Setup) => error,
            Err(error) => return Err(error.into()),
        };
        health.waiting(&cause(&error));
        if shutdown.run_until_cancelled(tokio::time::sleep(backoff.next_wait())).await.is_none() {
            return Ok(false);
        }
    }
}

fn watch_config(cluster: Cluster, args: &StageArgs, receipt_secret: &[u8; 32]) -> Result<WatchConfig, CommandError> {
    Ok(WatchConfig {
        // The commits of the normalizers say the topic epoch.
        normalizer: normalizer_config(cluster, args.normalizer_group.clone(), 0, receipt_secret)?,
        database_url: args.database_url.clone(),
        every: Duration::from_secs(args.account_seconds),
    })
}

pub(super) fn config(
    cluster: Cluster,
    database_url: String,
    group: String,
    receipt_secret: &[u8; 32],
) -> Result<SinkConfig, CommandError> {
    let receipt_key =
        ReceiptKey::new(receipt_secret).map_err(|_| CommandError::usage("the receipt key cannot be used"))?;
    let Cluster { settings: kafka, topics } = cluster;
    Ok(SinkConfig { kafka, topics, database_url, group, receipt_key, batch: sink::BatchLimits::default() })
}
