//! `device-manager normalizer`.

use std::process::ExitCode;

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
}

/// Runs until SIGTERM.
///
/// # Errors
/// What waiting does not heal.
pub async fn run(args: NormalizerCommand) -> Result<ExitCode, CommandError> {
    let config = config(args.kafka.settings()?, Topics::new(&args.kafka.topic_prefix), args.group, args.topic_epoch);
    let mut process = Process::boot(&args.process).await?;
    let (health, shutdown) = (process.health.stage("normalizer"), process.shutdown.clone());
    process.stage("the normalizer", normalizer::run(config, health, shutdown));
    process.wait().await.map(|()| ExitCode::SUCCESS)
}

pub(super) fn config(kafka: KafkaSettings, topics: Topics, group: String, topic_epoch: u16) -> NormalizerConfig {
    NormalizerConfig { kafka, topics, group, topic_epoch, batch: BatchLimits::default() }
}
