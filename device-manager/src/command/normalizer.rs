//! `device-manager normalizer`.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use normalizer::{BatchLimits, NormalizerConfig};
use schemas::topic::Topics;
use service::kafka::KafkaSettings;

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
    let topics = Topics::new(&args.kafka.topic_prefix);
    let config = NormalizerConfig {
        upload_wait: Duration::from_secs(args.upload_wait_seconds),
        ..config(args.kafka.settings()?, topics, args.group, args.topic_epoch)
    };
    let mut process = Process::boot(&args.process).await?;
    let (health, shutdown) = (process.health.stage("normalizer"), process.shutdown.clone());
    process.stage("the normalizer", normalizer::run(config, health, shutdown));
    process.wait().await.map(|()| ExitCode::SUCCESS)
}

/// Twice what the ingress gives an upload by default.
const UPLOAD_WAIT: Duration = Duration::from_secs(7_200);

pub(super) fn config(kafka: KafkaSettings, topics: Topics, group: String, topic_epoch: u16) -> NormalizerConfig {
    NormalizerConfig { kafka, topics, group, topic_epoch, batch: BatchLimits::default(), upload_wait: UPLOAD_WAIT }
}
