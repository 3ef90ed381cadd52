//! The loop around the mapping: consume, normalize, produce, commit last.
//!
//! A batch of raw records is mapped, its documents are produced and acknowledged, then its readings, commands, dead
//! letters and outcomes, and only when all are acknowledged is the position committed. Killed in between, the stage maps
//! the same records again: the ids are the same, so the sink sees duplicates and counts them.

mod consume;
mod error;
mod produce;
mod publish;
mod upload;

use std::time::Duration;

use schemas::{content::ContentKey, topic::Topics};
use service::{backoff::Backoff, health::StageHealth, kafka::KafkaSettings};
use tokio_util::sync::CancellationToken;

pub use error::NormalizerError;

use consume::{Consumed, Raw};
use produce::Events;
use upload::Open;

/// What the normalizer is told.
#[derive(Clone)]
pub struct NormalizerConfig {
    /// Where Kafka is.
    pub kafka: KafkaSettings,
    /// The topics' names.
    pub topics: Topics,
    /// The consumer group; all normalizers of an installation share it.
    pub group: String,
    /// The incarnation of the raw topics, see [`schemas::receipt::Position`].
    pub topic_epoch: u16,
    /// Shows that an upload is whole; the ingress's.
    pub content_key: ContentKey,
    /// What is mapped before its events must be acknowledged.
    pub batch: BatchLimits,
    /// How long after its last chunk an upload without a manifest is given up.
    pub upload_wait: Duration,
}

/// When a batch is full: it is held in memory, with the events that come of it.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Records.
    pub records: usize,
    /// Bytes of their bodies; a single larger one is a batch of its own.
    pub bytes: usize,
    /// Time since its first record.
    pub age: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { records: 2_000, bytes: 4 << 20, age: Duration::from_millis(5) }
    }
}

/// Runs until `shutdown`, or until something happens that waiting does not heal.
///
/// # Errors
/// [`NormalizerError`]; an outage of the broker is waited for and is no error.
pub async fn run(
    config: NormalizerConfig,
    health: StageHealth,
    shutdown: CancellationToken,
) -> Result<(), NormalizerError> {
    schemas::catalogue::check().map_err(NormalizerError::Catalogue)?;
    let events = Events::new(&config)?;
    let Some(mut raw) = connect(&config, &events, &health, &shutdown).await? else { return Ok(()) };
    health.ready();
    let mut open = Open::default();
    while !shutdown.is_cancelled() {
        let batch = raw.batch(config.batch, !open.is_empty(), &shutdown).await?;
        if !batch.is_empty() && step(&config, &events, &batch, &health, &shutdown).await? {
            open.follow(&batch);
            raw.commit(&batch, &mut open);
        }
        if let Err(error) = open.give_up(&config, &raw, &events).await {
            if !error.is_outage() {
                return Err(error);
            }
            tracing::warn!(%error, "an upload that was never closed is given up later");
        }
    }
    raw.close().await;
    Ok(())
}

/// Waits for the broker, publishes the schemas and joins the group. None when asked to stop before that.
async fn connect(
    config: &NormalizerConfig,
    events: &Events,
    health: &StageHealth,
    shutdown: &CancellationToken,
) -> Result<Option<Raw>, NormalizerError> {
    let mut backoff = Backoff::default();
    loop {
        match join(config, events, health).await {
            Ok(raw) => return Ok(Some(raw)),
            Err(error) if error.is_outage() => {
                health.waiting("the Kafka cluster is away");
                tracing::warn!(%error, "waiting for Kafka");
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}

async fn join(config: &NormalizerConfig, events: &Events, health: &StageHealth) -> Result<Raw, NormalizerError> {
    publish::schemas(config, events).await?;
    Raw::subscribe(config, health).await
}

async fn produce(config: &NormalizerConfig, events: &Events, batch: &[Consumed]) -> Result<(), NormalizerError> {
    events.produce(config, batch).await?;
    for manifest in batch.iter().filter(|record| upload::is_manifest(record)) {
        upload::map(config, events, manifest).await?;
    }
    Ok(())
}

/// Maps a batch and produces its events. Whether all are acknowledged: false when asked to stop during an outage; then
/// nothing is committed and the next process maps the records again, to the same ids.
async fn step(
    config: &NormalizerConfig,
    events: &Events,
    batch: &[Consumed],
    health: &StageHealth,
    shutdown: &CancellationToken,
) -> Result<bool, NormalizerError> {
    let mut backoff = Backoff::default();
    while let Err(error) = produce(config, events, batch).await {
        if !error.is_outage() {
            return Err(error);
        }
        // The same events again, with the same ids: what was acknowledged already becomes a duplicate.
        health.waiting("the Kafka cluster does not acknowledge events");
        tracing::warn!(%error, records = batch.len(), "the batch is produced again");
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
    health.ready();
    Ok(true)
}
