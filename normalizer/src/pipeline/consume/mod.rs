//! Reads raw records from Kafka, in batches. The consumer is polled at all times, even while a batch is mapped or waits for
//! acknowledgements, so that the group's rebalances are answered.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    Message, TopicPartitionList,
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use schemas::format::RawTopic;
use service::{backoff::Backoff, rebootstrap::Rebootstrap};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(super) mod group;
mod known;
mod marks;
mod owned;
mod position;
pub(super) mod query;
mod resume;

use super::{
    config::{BatchLimits, NormalizerConfig},
    error::NormalizerError,
    progress::{Progress, Suspects},
    record::{Consumed, RawPartition, bytes_of, headers_of, is_manifest},
};
use group::GroupContext;
use marks::Marks;
use owned::Owned;
use query::QUERY_TIMEOUT;

pub use resume::{epoch_of, mapped_until};

/// How long to wait for records of an empty topic while an upload is open.
const IDLE: Duration = Duration::from_secs(1);
/// How long work on a batch may take before partitions are paused and the consumer is polled. Pausing drops the records that
/// librdkafka has fetched, so short batches do not pause.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// How often to check again while something is pending that Kafka has not answered.
const RECHECK_TIMEOUT: Duration = Duration::from_millis(100);
/// How often the copies of the marks are committed again. Kafka deletes offsets that were committed a week ago.
const RECOMMIT_MARKS_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// How long to wait for Kafka's answer during shutdown.
const SHUTDOWN_QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// The topics to read, and the consumer group.
pub(super) struct Subscription {
    pub(super) topics: &'static [RawTopic],
    pub(super) group: String,
}

/// A running subscription to raw topics.
pub(super) struct RawConsumer {
    consumer: Arc<StreamConsumer<GroupContext>>,
    names: schemas::topic::Topics,
    epoch: u16,
    group: String,
    owned: HashMap<RawPartition, Owned>,
    assignments: u64,
    /// Records that were received although all partitions should have been paused.
    stash: VecDeque<Consumed>,
    is_paused: bool,
    /// Whether reading failed or a recheck was requested. Then the logs are checked for whether they are still the same.
    is_recheck_due: bool,
    /// The records to check instead of the last handled ones.
    suspects: Suspects,
    backoff: Backoff,
    retry_at: Instant,
    marks: Marks,
    recommit_marks_at: Instant,
    progress: Arc<Progress>,
    rebootstraps: [AbortOnDropHandle<()>; 2],
}

impl RawConsumer {
    pub(super) async fn subscribe(
        config: &NormalizerConfig,
        Subscription { topics, group }: &Subscription,
        progress: Arc<Progress>,
    ) -> Result<Self, NormalizerError> {
        let kafka = config.kafka.clone();
        let protocol = tokio::task::spawn_blocking(move || kafka.group_protocol(QUERY_TIMEOUT)).await??;
        progress.health().detail("group-protocol", protocol.as_str());
        let settings = config.kafka.consumer(group, protocol);
        let consumer: StreamConsumer<GroupContext> = settings.create_with_context(GroupContext::default())?;
        let names: Vec<String> = topics.iter().map(|topic| config.topics.raw(*topic)).collect();
        consumer.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let consumer = Arc::new(consumer);
        let marks = Marks::new(&config.kafka, group)?;
        let (known, known_marks) = (Arc::clone(&consumer), marks.clone());
        let rebootstraps = [
            Rebootstrap::new(&config.kafka.bootstrap).watch(move |rebootstrap| {
                rebootstrap.check(known.client());
            }),
            Rebootstrap::new(&config.kafka.bootstrap).watch(move |rebootstrap| {
                rebootstrap.check(known_marks.client());
            }),
        ];
        Ok(Self {
            consumer,
            names: config.topics.clone(),
            epoch: config.topic_epoch,
            group: group.clone(),
            owned: HashMap::new(),
            assignments: 0,
            stash: VecDeque::new(),
            is_paused: false,
            is_recheck_due: false,
            suspects: Suspects::new(),
            backoff: Backoff::default(),
            retry_at: Instant::now(),
            marks,
            recommit_marks_at: Instant::now() + RECOMMIT_MARKS_EVERY,
            progress,
            rebootstraps,
        })
    }

    pub(super) fn consumer(&self) -> Arc<StreamConsumer<GroupContext>> {
        Arc::clone(&self.consumer)
    }

    /// Returns the next batch of records. A manifest ends the batch, because its upload may be large. The batch is empty if
    /// shutdown was requested, or if the caller `waits` for something else and no record has arrived within [`IDLE`].
    pub(super) async fn batch(
        &mut self,
        limits: BatchLimits,
        waits: bool,
        shutdown: &CancellationToken,
    ) -> Result<Vec<Consumed>, NormalizerError> {
        let mut batch = Vec::new();
        let (idle_at, mut bytes) = (Instant::now() + IDLE, 0);
        while batch.is_empty() {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(batch),
                settled = self.acknowledge_or_recheck() => settled?,
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(batch),
                () = sleep_until(idle_at), if waits => return Ok(batch),
                () = sleep_until(self.recommit_marks_at) => {
                    self.recommit_marks_at = Instant::now() + RECOMMIT_MARKS_EVERY;
                    self.recommit_marks();
                }
                record = self.next() => batch.extend(record?),
            }
        }
        // One timer for all records of the batch.
        let mut is_old = pin!(sleep_until(Instant::now() + limits.age));
        bytes += bytes_of(batch.last());
        while batch.len() < limits.records
            && bytes < limits.bytes
            && !batch.last().is_some_and(is_manifest)
            && !shutdown.is_cancelled()
        {
            tokio::select! {
                biased;
                record = self.next() => {
                    if let Some(record) = record? {
                        bytes += bytes_of(Some(&record));
                        batch.push(record);
                    }
                }
                () = &mut is_old => break,
            }
        }
        Ok(batch)
    }

    /// Runs work while the consumer is polled. A member that does not poll for minutes is removed from the group, and one that
    /// does not release revoked partitions delays all others. All partitions are paused meanwhile, which bounds the records in
    /// memory.
    pub(super) async fn poll_while<T>(&mut self, work: impl Future<Output = T>) -> Result<T, NormalizerError> {
        let mut work = pin!(work);
        if let Ok(done) = timeout(PAUSE_AFTER, &mut work).await {
            return Ok(done);
        }
        self.pause(true);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                polled = self.poll_once() => {
                    if let Some(record) = polled? {
                        self.stash.push_back(record);
                    }
                }
            }
        };
        self.pause(false);
        Ok(done)
    }

    async fn poll_once(&mut self) -> Result<Option<Consumed>, NormalizerError> {
        self.acknowledge_or_recheck().await?;
        self.received().await
    }

    /// Returns the next record, or `None` if something else happened. There is no await after a record has been received, so
    /// that no record is lost if the future is dropped.
    async fn next(&mut self) -> Result<Option<Consumed>, NormalizerError> {
        if let Some(record) = self.stash.pop_front() {
            return Ok(self.is_current(&record).then_some(record));
        }
        self.received().await
    }

    async fn received(&mut self) -> Result<Option<Consumed>, NormalizerError> {
        let consumer = Arc::clone(&self.consumer);
        if self.is_recheck_due || consumer.context().is_pending() {
            return match timeout(RECHECK_TIMEOUT, consumer.recv()).await {
                Ok(received) => self.on_received(received),
                Err(_elapsed) => Ok(None),
            };
        }
        let progress = Arc::clone(&self.progress);
        tokio::select! {
            // Waiting for rebalances costs more than receiving a record that is already fetched. `drop_revoked` checks for
            // rebalances with each record.
            biased;
            received = consumer.recv() => self.on_received(received),
            () = consumer.context().changed() => Ok(None),
            () = progress.recheck_requested() => Ok(None),
        }
    }

    fn on_received(
        &mut self,
        received: Result<BorrowedMessage<'_>, KafkaError>,
    ) -> Result<Option<Consumed>, NormalizerError> {
        match received {
            Ok(message) => Ok(self.consumed(&message)),
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "raw records could not be read");
                self.is_recheck_due = true;
                Ok(None)
            }
        }
    }

    /// Converts a message to a record for the stage. `None` if the message is ignored: its partition is no longer owned, or it
    /// was fetched only to compare its append time.
    fn consumed(&mut self, message: &BorrowedMessage<'_>) -> Option<Consumed> {
        self.drop_revoked();
        let topic = self.names.raw_of(message.topic())?;
        let (raw_partition, offset) = ((topic, message.partition()), message.offset());
        let owned = self.owned.get_mut(&raw_partition).filter(|owned| !owned.is_blocked)?;
        if owned.stale_from.is_some_and(|behind| offset >= behind) {
            return None;
        }
        owned.stale_from = None;
        owned.next = offset + 1;
        let Owned { assignment, start, .. } = *owned;
        if offset + 1 == start.map_from
            && start.appended_ms.is_some_and(|appended_ms| message.timestamp().to_millis() != Some(appended_ms))
        {
            self.on_log_mismatch(raw_partition, start);
            return None;
        }
        if offset < start.use_from {
            return None;
        }
        if message.payload().is_none() {
            metrics::counter!("device_manager_normalizer_null_records_total").increment(1);
        }
        Some(Consumed {
            topic,
            headers: headers_of(topic, message),
            message: message.detach(),
            is_handled: offset < start.map_from,
            assignment,
        })
    }

    fn is_current(&self, record: &Consumed) -> bool {
        let raw_partition = (record.topic, record.message.partition());
        self.owned.get(&raw_partition).is_some_and(|owned| owned.assignment == record.assignment && !owned.is_blocked)
    }

    /// Leaves the group, after pending commits have completed.
    pub(super) async fn close(mut self) {
        // The consumer leaves the group when its last reference is dropped. The rebootstrap checks hold references too, so they
        // are stopped first.
        for rebootstrap in &mut self.rebootstraps {
            rebootstrap.abort();
            let _aborted = rebootstrap.await;
        }
        let closed = tokio::task::spawn_blocking(move || {
            if self.consumer.fetch_metadata(None, SHUTDOWN_QUERY_TIMEOUT).is_err() {
                // Leaving the group waits for the session timeout if the broker is not available; the process does not wait
                // that long. Records that are not committed are mapped again.
                let leaves = std::thread::Builder::new().name("normalizer-leaves".to_owned()).spawn(move || drop(self));
                if let Err(error) = leaves {
                    tracing::warn!(%error, "the consumer could not leave the group");
                }
                return;
            }
            #[cfg(feature = "fail-points")]
            service::fail_point::pass("normalizer-leaves");
            if let Err(error) = self.consumer.commit_consumer_state(CommitMode::Sync) {
                tracing::debug!(%error, "nothing was committed at the end");
            }
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the consumer could not leave the group");
        }
    }
}

impl Drop for RawConsumer {
    /// Acknowledges a pending assignment: librdkafka waits for this forever, even while closing.
    fn drop(&mut self) {
        if self.consumer.context().is_pending()
            && let Err(error) =
                self.consumer.context().acknowledge_assignment(&*self.consumer, &TopicPartitionList::new())
        {
            tracing::debug!(%error, "a pending assignment could not be acknowledged");
        }
    }
}
