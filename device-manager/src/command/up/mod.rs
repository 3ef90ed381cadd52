//! `device-manager up`: runs everything in one process, with an embedded Kafka and Postgres unless others are given.

mod context;
mod demo;
mod env_file;
mod stages;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use clap::Args;
use embedded::{DataDir, Embedded, EmbeddedConfig, EmbeddedError};
use tokio_util::sync::CancellationToken;

use super::{KafkaArgs, catalogue_file::CatalogueArgs, database};
use crate::{
    boot::{Process, ProcessArgs, log_ignored_variables},
    error::CommandError,
    output::Output,
};
use context::{RECEIPT_KEY, UpContext};
use env_file::EnvFile;

/// Run everything in one process, with its own Kafka and Postgres.
///
/// No configuration is required. The command starts a real single-node Kafka and a real Postgres as child processes that
/// keep their data in --data-dir, applies topics and migrations, starts all stages and creates a development API key. When
/// it is ready, the file `env` in the data directory contains, in shell syntax, everything that clients and the operator's
/// commands need to connect: INGRESS_URL, API_KEY, DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS, TOPIC_PREFIX, RECEIPT_KEY_FILE,
/// KEYS_FILE, and CATALOGUE_FILE if one is used. The file exists as long as they can be reached. Ctrl-C stops everything in order; the data is kept for the
/// next run.
#[derive(Args)]
#[command(after_help = "Examples:
  device-manager up --demo --once          send readings, show where they are stored, then stop
  device-manager up --data-dir /srv/dm     keep the data elsewhere
  . .device-manager/env; psql \"$DATABASE_URL\"     connect from another terminal")]
pub struct UpCommand {
    #[command(flatten)]
    process: ProcessArgs,
    /// The folder for data, logs, ports and passwords.
    #[arg(long, env = "DEVICE_MANAGER_DATA_DIR", default_value = ".device-manager")]
    data_dir: PathBuf,
    /// The folder with Kafka's jars, or a Kafka distribution. By default .kafka is searched for in the working directory and
    /// its parents.
    #[arg(long, env = "KAFKA_HOME")]
    kafka_home: Option<PathBuf>,
    /// Use this Kafka instead of starting one.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    kafka_bootstrap_servers: Option<String>,
    /// A prefix of every topic name, for installations that share a cluster.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    topic_prefix: String,
    /// Use this Postgres database instead of starting one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Used only with KAFKA_BOOTSTRAP_SERVERS: the file with the secret that signs receipts, as the other processes of the installation use
    /// it. By default receipt.key in the data directory.
    #[arg(long, env = "RECEIPT_KEY_FILE")]
    receipt_key_file: Option<PathBuf>,
    #[command(flatten)]
    catalogue: CatalogueArgs,
    /// The port for clients. Port 0 selects a free port.
    #[arg(long, env = "HTTP_PORT", default_value_t = 3000)]
    http_port: u16,
    /// Send realistic traffic when ready, and show the resulting readings.
    #[arg(long)]
    demo: bool,
    /// Stop after the demonstration.
    #[arg(long, requires = "demo")]
    once: bool,
}

/// Runs until SIGTERM or Ctrl-C, or until the demonstration is over.
///
/// # Errors
/// Something is not installed, a port is in use, or a stage or a child process ended.
pub async fn run(args: UpCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let begun = Instant::now();
    check(&args)?;
    let mut process = Process::boot(&args.process).await?;
    let io = |error: io::Error| CommandError::failed("the data directory", error);
    let stop = process.shutdown.clone();
    let data_dir =
        DataDir::acquire(&args.data_dir).map_err(|error| CommandError::failed("locking the data directory", error))?;
    // This comes first, so that a process that waits for the file does not read that of an earlier run.
    EnvFile::remove(data_dir.path()).map_err(io)?;
    for (given, variable, server) in [
        (&args.kafka_bootstrap_servers, "KAFKA_BOOTSTRAP_SERVERS", "Kafka"),
        (&args.database_url, "DATABASE_URL", "Postgres"),
    ] {
        if given.is_some() {
            tracing::info!("using the {server} that {variable} or its flag names; without both, `up` starts its own");
        }
    }
    let embedded = tokio::select! {
        embedded = start(data_dir, &args) => Arc::new(embedded?),
        // Dropping the future ends what it has started.
        () = stop.cancelled() => return Ok(ExitCode::from(130)),
    };
    let given_or =
        |given: &Option<String>, embedded: Option<&str>| given.as_deref().or(embedded).unwrap_or_default().to_owned();
    let kafka = KafkaArgs {
        kafka_bootstrap_servers: given_or(&args.kafka_bootstrap_servers, embedded.kafka_bootstrap()),
        topic_prefix: args.topic_prefix.clone(),
    };
    let data_dir = args.data_dir.canonicalize().map_err(io)?;
    let joined = args.receipt_key_file.clone().filter(|_| args.kafka_bootstrap_servers.is_some());
    let receipt_key_file = joined
        .map_or_else(|| Ok(data_dir.join(RECEIPT_KEY)), |file| file.canonicalize())
        .map_err(|error| CommandError::usage(format!("RECEIPT_KEY_FILE: {error}")))?;
    let catalogue_file = args.catalogue.file().map(Path::canonicalize).transpose();
    let catalogue_file = catalogue_file.map_err(|error| CommandError::usage(format!("CATALOGUE_FILE: {error}")))?;
    let context = UpContext {
        data_dir,
        receipt_key_file,
        catalogue_file,
        cluster: kafka.cluster_of_stage()?,
        topic_prefix: kafka.topic_prefix,
        database_url: given_or(&args.database_url, embedded.database_url()),
        has_own_database: embedded.database_url().is_some(),
        api_key: env_file::api_key(&args.data_dir)?,
        http_port: args.http_port,
    };
    log_ignored_variables(&context.cluster.settings);
    process.stage("the embedded Kafka and Postgres", watch(embedded.clone(), stop));
    let shown = show(&mut process, &args, &context, begun, output).await;
    if args.once || shown.is_err() {
        process.shutdown.cancel();
    }
    // The order is the same if the start failed: the stages end while what they use still runs.
    let ended = process.wait().await;
    EnvFile::remove(&args.data_dir).map_err(io)?;
    embedded.stop().await;
    shown.and(ended).map(|()| ExitCode::SUCCESS)
}

/// Checks the catalogue file and the settings of a given Kafka and Postgres before anything is started.
fn check(args: &UpCommand) -> Result<(), CommandError> {
    args.catalogue.install()?;
    if let Some(kafka_bootstrap_servers) = args.kafka_bootstrap_servers.clone() {
        let topic_prefix = args.topic_prefix.clone();
        KafkaArgs { kafka_bootstrap_servers, topic_prefix }.cluster_of_stage()?;
    }
    args.database_url.as_deref().map_or(Ok(()), |url| database(url).map(|_options| ()))
}

/// Starts the stages, prints how to reach them, and runs the demonstration if it was requested.
async fn show(
    process: &mut Process,
    args: &UpCommand,
    context: &UpContext,
    begun: Instant,
    output: &mut Output,
) -> Result<(), CommandError> {
    let ingress_url = stages::launch(process, context).await?;
    let env_file = EnvFile { ingress_url: &ingress_url, context };
    env_file.write(&args.data_dir).map_err(|error| CommandError::failed("the data directory", error))?;
    output.line(&format!("Ready after {:.1} s at {ingress_url}", begun.elapsed().as_secs_f64()))?;
    if !args.once {
        for line in env_file::hint(&args.data_dir, &ingress_url).lines() {
            output.line(line)?;
        }
    }
    if args.demo { demo::show(&ingress_url, context, output).await } else { Ok(()) }
}

async fn start(data_dir: DataDir, args: &UpCommand) -> Result<Embedded, CommandError> {
    let config = EmbeddedConfig {
        kafka: args.kafka_bootstrap_servers.is_none(),
        postgres: args.database_url.is_none(),
        kafka_home: args.kafka_home.clone(),
        kafka_proxied: None,
    };
    Embedded::start(data_dir, config)
        .await
        .map_err(|error| CommandError::failed("starting the embedded Kafka and Postgres", error))
}

/// Ends the process when an embedded server ends, because nothing restarts it. The stages themselves only wait for a server
/// that is not reachable.
async fn watch(embedded: Arc<Embedded>, stop: CancellationToken) -> Result<(), EmbeddedError> {
    tokio::select! {
        error = embedded.child_ended() => Err(error),
        () = stop.cancelled() => Ok(()),
    }
}
