//! `device-manager normalizer`.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use normalizer::{BatchLimits, NormalizerConfig, Skip, SkippedRecord};
use schemas::{content::ContentKey, format::RawTopic};
use service::cluster::Cluster;

use super::{KafkaArgs, catalogue_file::CatalogueArgs, receipt_secret};
use crate::{
    boot::{Process, ProcessArgs, log_ignored_variables},
    error::CommandError,
};

/// Turn raw records into events.
///
/// Run up to as many normalizers as the raw topics have partitions; they share the work. Add or stop some at any time. Each
/// uses all cores.
#[derive(Args)]
pub struct NormalizerCommand {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    catalogue: CatalogueArgs,
    /// The consumer group that all normalizers of an installation share.
    #[arg(long, env = "NORMALIZER_GROUP", default_value = "device-manager-normalizer")]
    group: String,
    /// The file with the secret that signs receipts; the same as the ingress's. The hashes that prove an upload complete are
    /// derived from it.
    #[arg(long, env = "RECEIPT_KEY_FILE")]
    receipt_key_file: PathBuf,
    /// The topic epoch of the raw topics; the same as the ingress's.
    #[arg(long, env = "TOPIC_EPOCH", default_value_t = 0)]
    topic_epoch: u16,
    /// How long after its last chunk an incomplete large upload is given up, in seconds. Must be longer than the ingress's
    /// UPLOAD_TIMEOUT_SECONDS.
    #[arg(long, env = "UPLOAD_WAIT_SECONDS", default_value_t = 7_200)]
    upload_wait_seconds: u64,
    /// The number of threads that map records. By default the number of cores.
    #[arg(long, env = "NORMALIZER_THREADS")]
    threads: Option<NonZeroUsize>,
    /// A raw record to skip, as TOPIC:PARTITION:OFFSET, such as raw.healthkit:0:4711. For a large upload, name the manifest,
    /// which its receipt points to. The record becomes a dead letter with the reason skipped. May be given several times.
    #[arg(long, value_parser = skipped)]
    skip: Vec<SkippedRecord>,
    /// Why these records are skipped, for the dead letters. Must not contain health data.
    #[arg(long, requires = "skip", default_value = "")]
    skip_reason: String,
}

fn skipped(text: &str) -> Result<SkippedRecord, &'static str> {
    const FORM: &str = "a raw record is named as TOPIC:PARTITION:OFFSET, without a prefix: raw.healthkit:0:4711";
    let [topic, partition, offset]: [&str; 3] = text.split(':').collect::<Vec<_>>().try_into().map_err(|_| FORM)?;
    Ok(SkippedRecord {
        topic: RawTopic::from_word(topic).ok_or(FORM)?,
        partition: partition.parse().map_err(|_| FORM)?,
        offset: offset.parse().map_err(|_| FORM)?,
    })
}

/// Runs until SIGTERM.
///
/// # Errors
/// An error that waiting does not resolve.
pub async fn run(args: NormalizerCommand) -> Result<ExitCode, CommandError> {
    args.catalogue.install()?;
    let cluster = args.kafka.cluster_of_stage()?;
    let secret = receipt_secret(&args.receipt_key_file)?;
    let config = NormalizerConfig {
        upload_wait: Duration::from_secs(args.upload_wait_seconds),
        threads: args.threads.unwrap_or_else(cores),
        skip: Skip { positions: args.skip, reason: args.skip_reason },
        ..config(cluster, args.group, args.topic_epoch, &secret)?
    };
    let mut process = Process::boot(&args.process).await?;
    log_ignored_variables(&config.kafka);
    let (health, shutdown) = (process.health.stage("normalizer"), process.shutdown.clone());
    process.stage("the normalizer", normalizer::run(config, health, shutdown));
    process.wait().await.map(|()| ExitCode::SUCCESS)
}

/// Twice the default time limit of the ingress for an upload.
const UPLOAD_WAIT: Duration = Duration::from_secs(7_200);

pub(super) fn config(
    cluster: Cluster,
    group: String,
    topic_epoch: u16,
    receipt_secret: &[u8; 32],
) -> Result<NormalizerConfig, CommandError> {
    let content_key =
        ContentKey::derive(receipt_secret).map_err(|_| CommandError::usage("the receipt key cannot be used"))?;
    let (batch, upload_wait) = (BatchLimits::default(), UPLOAD_WAIT);
    let (threads, skip) = (cores(), Skip::default());
    let Cluster { settings: kafka, topics } = cluster;
    Ok(NormalizerConfig { kafka, topics, group, topic_epoch, content_key, batch, upload_wait, threads, skip })
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
