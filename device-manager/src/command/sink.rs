//! `device-manager sink`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use schemas::{receipt::ReceiptKey, topic::Topics};
use service::{kafka::KafkaSettings, secret};
use sink::SinkConfig;
use sqlx::PgPool;

use super::{CommandError, KafkaArgs};
use crate::boot::{Process, ProcessArgs};

/// Write events to Postgres.
///
/// Its position is in Postgres, in the transaction of each batch: a crash, a second sink or an older dump neither loses nor
/// doubles a row. Run as many as the event topics have partitions.
#[derive(Args)]
pub struct SinkCommand {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The database, postgres://user:password@host:port/name. Best given in the environment.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The consumer group that all sinks of an installation share.
    #[arg(long, env = "SINK_GROUP", default_value = "device-manager-sink")]
    group: String,
    /// The file with the secret that signs receipts; the ingress's.
    #[arg(long, env = "RECEIPT_KEY_FILE")]
    receipt_key_file: PathBuf,
    /// Bring the database to this release's tables before starting.
    #[arg(long, env = "SINK_MIGRATE")]
    migrate: bool,
}

/// Runs until SIGTERM.
///
/// # Errors
/// What waiting does not heal.
pub async fn run(args: SinkCommand) -> Result<ExitCode, CommandError> {
    let kafka = (args.kafka.settings()?, Topics::new(&args.kafka.topic_prefix));
    let secret = secret::load_or_refuse(&args.receipt_key_file)
        .map_err(|error| CommandError::failed("the receipt key", error))?;
    let config = config(kafka, args.database_url.clone(), args.group, &secret)?;
    let mut process = Process::boot(&args.process).await?;
    if args.migrate {
        let pool = PgPool::connect(&args.database_url)
            .await
            .map_err(|error| CommandError::failed("reaching Postgres", error))?;
        ::sink::migrate(&pool).await.map_err(|error| CommandError::failed("the migrations", error))?;
        pool.close().await;
    }
    let (health, shutdown) = (process.health.stage("sink"), process.shutdown.clone());
    process.stage("the sink", ::sink::run(config, health, shutdown));
    process.wait().await.map(|()| ExitCode::SUCCESS)
}

pub(super) fn config(
    (kafka, topics): (KafkaSettings, Topics),
    database_url: String,
    group: String,
    receipt_secret: &[u8; 32],
) -> Result<SinkConfig, CommandError> {
    let receipt_key =
        ReceiptKey::new(receipt_secret).map_err(|_| CommandError::usage("the receipt key cannot be used"))?;
    Ok(SinkConfig { kafka, topics, database_url, group, receipt_key, batch: sink::BatchLimits::default() })
}
