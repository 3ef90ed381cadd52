//! `device-manager normalizer`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use normalizer::{BatchLimits, NormalizerConfig};
use schemas::{content::ContentKey, topic::Topics};
use service::{kafka::KafkaSettings, secret};

use super::{CommandError, KafkaArgs};
use crate::boot::{Process, ProcessArgs};

/// Turn raw records into events.
///
/// Run as many of them as the raw topics have partitions; they share the work.
#[derive(Args)]
pub struct NormalizerCommand {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The consumer group that all normalizers of an installation share.
    #[arg(long, env = "NORMALIZER_GROUP", default_value = "device-manager-normalizer")]
    group: String,
    /// The file with the secret that signs receipts; the ingress's. The hashes that show an upload to be whole derive from it.
    #[arg(long, env = "RECEIPT_KEY_FILE")]
    receipt_key_file: PathBuf,
    /// The incarnation of the raw topics; the ingress's.
    #[arg(long, env = "TOPIC_EPOCH", default_value_t = 0)]
    topic_epoch: u16,
    /// How long after its last chunk a large upload without its end is given up. More than the ingress's
    /// UPLOAD_TIMEOUT_SECONDS.
    #[arg(long, env = "UPLOAD_WAIT_SECONDS", default_value_t = 7_200)]
    upload_wait_seconds: u64,
}

/// Runs until SIGTERM.
///
/// # Errors
/// What waiting does not heal.
pub async fn run(args: NormalizerCommand) -> Result<ExitCode, CommandError> {
    let mut process = Process::boot(&args.process).await?;
    let kafka = (process.kafka_settings(&args.kafka)?, Topics::new(&args.kafka.topic_prefix));
    let secret = secret::load_or_refuse(&args.receipt_key_file)
        .map_err(|error| CommandError::failed("the receipt key", error))?;
    let config = NormalizerConfig {
        upload_wait: Duration::from_secs(args.upload_wait_seconds),
        ..config(kafka, args.group, args.topic_epoch, &secret)?
    };
    let (health, shutdown) = (process.health.stage("normalizer"), process.shutdown.clone());
    process.stage("the normalizer", normalizer::run(config, health, shutdown));
    process.wait().await.map(|()| ExitCode::SUCCESS)
}

/// Twice what the ingress gives an upload by default.
const UPLOAD_WAIT: Duration = Duration::from_secs(7_200);

pub(super) fn config(
    (kafka, topics): (KafkaSettings, Topics),
    group: String,
    topic_epoch: u16,
    receipt_secret: &[u8; 32],
) -> Result<NormalizerConfig, CommandError> {
    let content_key =
        ContentKey::derive(receipt_secret).map_err(|_| CommandError::usage("the receipt key cannot be used"))?;
    let (batch, upload_wait) = (BatchLimits::default(), UPLOAD_WAIT);
    Ok(NormalizerConfig { kafka, topics, group, topic_epoch, content_key, batch, upload_wait })
}
