//! The loop around the mapping: consume, normalize, produce, commit last.
//!
//! The threads of a [`Pool`] map a batch of raw records. A document is produced and acknowledged before the reading that cites
//! it. The position is committed only after all events of the batch are acknowledged. If the stage is killed in between, it
//! maps the same records again: the ids are the same, so the sink sees duplicates and counts them.
//!
//! Large uploads have a topic, a group and a loop of their own, so that nothing else waits for them.

mod again;
mod catalogue_claim;
mod chunks;
mod config;
mod consume;
mod error;
mod event;
mod judge;
mod metrics;
mod open_uploads;
mod produce;
mod progress;
mod publish;
mod readiness;
mod record;
mod republish;
mod upload;
mod watch;

use std::sync::Arc;

use schemas::format::RawTopic;
use service::{backoff::Backoff, health::StageHealth, kafka::because, topics::not_there};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use again::{MappedItem, RawMessage, map_again};
pub use catalogue_claim::check_catalogue;
pub use config::{BatchLimits, NormalizerConfig, Skip, SkippedRecord, group_of};
pub use consume::{epoch_of, mapped_until};
pub use error::{CatalogueConflict, NormalizerError};
pub use republish::{Republished, Republisher, Totals};

use crate::{pool::Pool, registry::normalize};
use catalogue_claim::{Claimed, claim_catalogue};
use consume::{RawConsumer, Subscription};
use event::Mapper;
use open_uploads::OpenUploads;
use produce::{EventProducer, Window, count_outcomes};
use progress::Progress;
use readiness::Readiness;
use record::{Consumed, is_manifest};
use watch::watch;

/// Runs until `shutdown`, or until an error occurs that waiting does not resolve.
///
/// # Errors
/// [`NormalizerError`]. An outage of the broker is not an error: the stage waits for its end.
pub async fn run(
    config: NormalizerConfig,
    health: StageHealth,
    shutdown: CancellationToken,
) -> Result<(), NormalizerError> {
    catalogue::check().map_err(NormalizerError::Catalogue)?;
    metrics::describe();
    health.detail("mapping-threads", &config.threads.to_string());
    health.detail("catalogue-revision", &catalogue::revision().to_string());
    let pool = Pool::start(config.threads, Mapper { config: config.clone(), normalize })?;
    let (events, readiness) = (EventProducer::new(&config)?, Readiness::new(health));
    let is_catalogue_claimed = Mutex::new(false);
    let consumers =
        Consumers { config: &config, events: &events, pool: &pool, shutdown: &shutdown, is_catalogue_claimed };
    let bodies = Subscription { topics: RawTopic::BODIES, group: config.group.clone() };
    let uploads = Subscription { topics: &[RawTopic::Uploads], group: group_of(&config.group, RawTopic::Uploads) };
    let ended = tokio::try_join!(
        consumers.run(bodies, Progress::new("raw", readiness.clone())),
        consumers.run(uploads, Progress::new("uploads", readiness)),
    );
    ended.map(|((), ())| ())
}

/// The result of an attempt to join the group.
enum Joined {
    Raw(Box<RawConsumer>),
    /// This topic does not exist.
    NoTopic(String),
}

/// What the loops of the two subscriptions share.
struct Consumers<'s> {
    config: &'s NormalizerConfig,
    events: &'s EventProducer,
    pool: &'s Pool<Mapper>,
    shutdown: &'s CancellationToken,
    is_catalogue_claimed: Mutex<bool>,
}

impl Consumers<'_> {
    /// Consumes, maps, produces and commits, until shutdown.
    async fn run(&self, subscription: Subscription, progress: Arc<Progress>) -> Result<(), NormalizerError> {
        let topics = subscription.topics;
        let Some(mut raw) = self.connect(&subscription, &progress).await? else { return Ok(()) };
        let watched = watch(&progress, raw.consumer(), self.config.topics.clone(), topics);
        let mut open_uploads = OpenUploads::default();
        while !self.shutdown.is_cancelled() {
            let batch = Arc::new(raw.batch(self.config.batch, !open_uploads.is_empty(), self.shutdown).await?);
            #[cfg(feature = "planted-bugs")]
            if service::planted_bug::PlantedBug::EarlyCommit.is_planted() {
                raw.commit(&batch, &mut open_uploads);
            }
            if !batch.is_empty() && raw.poll_while(self.process(&batch, &progress)).await?? {
                open_uploads.update(&batch);
                raw.commit(&batch, &mut open_uploads);
                #[cfg(feature = "fail-points")]
                service::fail_point::pass("normalizer-committed");
            }
            let mut window = Window::new(self.events, self.config, &progress);
            match upload::give_up_expired(&mut open_uploads, self.config.upload_wait, &raw, &mut window).await {
                Ok(true) => raw.commit(&[], &mut open_uploads),
                Ok(false) => {}
                Err(error) if error.is_outage() => {
                    tracing::debug!(%error, "an upload without a manifest could not be given up yet");
                }
                Err(error) => return Err(error),
            }
        }
        // The watch task holds a reference to the consumer, which closes when the last reference is dropped.
        drop(watched);
        raw.close().await;
        Ok(())
    }

    /// Waits for the broker, claims the catalogue, publishes the schemas and joins the group. `None` if shutdown was requested first.
    async fn connect(
        &self,
        subscription: &Subscription,
        progress: &Arc<Progress>,
    ) -> Result<Option<RawConsumer>, NormalizerError> {
        let mut backoff = Backoff::default();
        let connected = self.shutdown.run_until_cancelled(async {
            loop {
                match self.join(subscription, progress).await {
                    Ok(Joined::Raw(raw)) => {
                        progress.report_wait(None);
                        return Ok(*raw);
                    }
                    Ok(Joined::NoTopic(name)) => progress.report_wait(Some(&not_there(&name))),
                    Err(error) if error.is_outage() => {
                        progress.report_wait(Some(&because("Kafka does not answer")));
                        tracing::debug!(%error, "waiting for Kafka");
                    }
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        });
        connected.await.transpose()
    }

    async fn join(&self, subscription: &Subscription, progress: &Arc<Progress>) -> Result<Joined, NormalizerError> {
        let schemas = self.config.topics.schemas();
        if !publish::has_topic(self.config, schemas.clone()).await? {
            return Ok(Joined::NoTopic(schemas));
        }
        if let Claimed::NoTopic(name) = self.claim_catalogue().await? {
            return Ok(Joined::NoTopic(name));
        }
        publish::publish_schemas(self.config, self.events).await?;
        RawConsumer::subscribe(self.config, subscription, Arc::clone(progress)).await.map(Box::new).map(Joined::Raw)
    }

    /// Claims the catalogue once for both subscriptions.
    async fn claim_catalogue(&self) -> Result<Claimed, NormalizerError> {
        let mut is_claimed = self.is_catalogue_claimed.lock().await;
        if *is_claimed {
            return Ok(Claimed::Yes);
        }
        let claimed = claim_catalogue(self.config).await?;
        *is_claimed = claimed == Claimed::Yes;
        Ok(claimed)
    }

    /// Maps a batch and produces its events. Returns whether all events are acknowledged. It returns `false` if shutdown was
    /// requested during an outage; then nothing is committed, and the next process maps the records again, to the same ids.
    async fn process(&self, batch: &Arc<Vec<Consumed>>, progress: &Progress) -> Result<bool, NormalizerError> {
        let mut backoff = Backoff::default();
        while let Err(error) = self.produce(batch, progress).await {
            if !error.is_outage() {
                return Err(error);
            }
            // The same events are produced again with the same ids, so those that were already acknowledged become duplicates.
            progress.report_wait(Some(&because("Kafka does not acknowledge events")));
            tracing::debug!(%error, records = batch.len(), "the batch is produced again");
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(false),
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
        progress.report_wait(None);
        Ok(true)
    }

    async fn produce(&self, batch: &Arc<Vec<Consumed>>, progress: &Progress) -> Result<(), NormalizerError> {
        let mut window = Window::new(self.events, self.config, progress);
        let (mut mapping, mut records) = (self.pool.map(Arc::clone(batch)), batch.iter());
        let mut outcomes = Vec::with_capacity(batch.len());
        while let Some(mapped_records) = mapping.next().await? {
            #[cfg(feature = "fail-points")]
            service::fail_point::pass("normalizer-mapped");
            for (mapped, record) in mapped_records.into_iter().zip(&mut records) {
                if let Some(mapped) = mapped {
                    outcomes.push(window.send_record(record, mapped).await?);
                }
            }
        }
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("normalizer-produced");
        window.wait_for_all().await?;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("normalizer-acknowledged");
        count_outcomes(outcomes.iter());
        for manifest in batch.iter().filter(|record| is_manifest(record) && !record.is_handled) {
            if manifest.topic == RawTopic::Uploads {
                upload::map_upload(manifest, &mut window).await?;
            }
        }
        Ok(())
    }
}
