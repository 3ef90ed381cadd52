//! Raw records from Kafka, in batches.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer},
    error::KafkaError,
    message::{Headers as _, OwnedMessage},
    types::RDKafkaErrorCode,
};
use schemas::{
    format::RawTopic,
    raw::{HeaderError, Headers},
};
use service::{backoff::Backoff, health::StageHealth, recall::Recall};
use tokio::time::{Instant, timeout_at};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{BatchLimits, NormalizerConfig, NormalizerError, upload::Open};

const PROBE: Duration = Duration::from_secs(5);
/// How long an empty topic is waited for while an upload is open.
const IDLE: Duration = Duration::from_secs(1);
/// An upload of gigabytes is mapped between two polls.
const POLL_LONGEST_MS: &str = "3600000";
/// How long Kafka may take to answer once the stage was asked to stop.
const ANSWER_AT_END: Duration = Duration::from_secs(1);

/// One record with its headers read.
pub(super) struct Consumed {
    pub(super) topic: RawTopic,
    pub(super) headers: Result<Headers, HeaderError>,
    pub(super) message: OwnedMessage,
}

/// The subscription to the raw topics.
pub(super) struct Raw {
    consumer: Arc<StreamConsumer<Group>>,
    topics: schemas::topic::Topics,
    expected: Expected,
    recalled: AbortOnDropHandle<()>,
}

/// Counts the rebalances of the group.
#[derive(Default)]
struct Group {
    rebalances: AtomicU64,
}

impl ClientContext for Group {}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, _rebalance: &Rebalance<'_>) {
        self.rebalances.fetch_add(1, Ordering::Relaxed);
    }
}

/// The offset that comes next in each partition, as far as it is known since the last rebalance.
#[derive(Default)]
struct Expected {
    rebalance: u64,
    next: HashMap<(RawTopic, i32), i64>,
}

impl Raw {
    pub(super) async fn subscribe(config: &NormalizerConfig, health: &StageHealth) -> Result<Self, NormalizerError> {
        let kafka = config.kafka.clone();
        let protocol = tokio::task::spawn_blocking(move || kafka.group_protocol(PROBE)).await??;
        health.detail("group-protocol", protocol.as_str());
        // A new group begins at the first record.
        let mut settings = config.kafka.consumer(&config.group, protocol);
        settings.set("auto.offset.reset", "earliest");
        if !config.kafka.properties.contains_key("max.poll.interval.ms") {
            settings.set("max.poll.interval.ms", POLL_LONGEST_MS);
        }
        let consumer: StreamConsumer<Group> = settings.create_with_context(Group::default())?;
        let names: Vec<String> = RawTopic::ALL.iter().map(|topic| config.topics.raw(*topic)).collect();
        consumer.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let consumer = Arc::new(consumer);
        let known = Arc::clone(&consumer);
        let recalled = Recall::new(&config.kafka).keep(move |recall| {
            recall.look(known.client());
        });
        Ok(Self { consumer, topics: config.topics.clone(), expected: Expected::default(), recalled })
    }

    /// As many records as a batch takes. Empty when asked to stop, and after a while where something else `waits`.
    pub(super) async fn batch(
        &mut self,
        limits: BatchLimits,
        waits: bool,
        shutdown: &CancellationToken,
    ) -> Result<Vec<Consumed>, NormalizerError> {
        let mut batch = Vec::new();
        let first = tokio::select! {
            () = shutdown.cancelled() => return Ok(batch),
            () = tokio::time::sleep(IDLE), if waits => return Ok(batch),
            first = self.next() => first?,
        };
        self.accept(first, &mut batch, shutdown).await?;
        let deadline = Instant::now() + limits.age;
        let mut bytes = bytes_of(batch.last());
        while batch.len() < limits.records && bytes < limits.bytes && !shutdown.is_cancelled() {
            match timeout_at(deadline, self.next()).await {
                Ok(next) => {
                    let before = batch.len();
                    self.accept(next?, &mut batch, shutdown).await?;
                    bytes += bytes_of(batch.get(before));
                }
                Err(_elapsed) => break,
            }
        }
        Ok(batch)
    }

    /// Adds a record of which it is sure that none before it was skipped. When asked to stop before that is known, the record
    /// stays where it is, uncommitted.
    async fn accept(
        &mut self,
        record: Option<Consumed>,
        batch: &mut Vec<Consumed>,
        shutdown: &CancellationToken,
    ) -> Result<(), NormalizerError> {
        let Some(record) = record else { return Ok(()) };
        let (partition, offset) = (record.message.partition(), record.message.offset());
        if let Some(sure) = shutdown.run_until_cancelled(self.nothing_skipped(record.topic, partition, offset)).await {
            sure?;
            batch.push(record);
        }
        Ok(())
    }

    /// The next record; none where the broker reported what it heals itself.
    /// Nothing is awaited once a record is here: a time-out must not lose one.
    async fn next(&self) -> Result<Option<Consumed>, NormalizerError> {
        match self.consumer.recv().await {
            Ok(message) => {
                let Some(topic) = self.topics.raw_of(message.topic()) else { return Ok(None) };
                let headers = message.headers();
                let pairs = headers.into_iter().flat_map(|headers| headers.iter());
                let read =
                    Headers::read(topic, pairs.filter_map(|header| header.value.map(|value| (header.key, value))));
                Ok(Some(Consumed { topic, headers: read, message: message.detach() }))
            }
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            )) => Err(NormalizerError::RecordsGone),
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "reading raw records");
                Ok(None)
            }
        }
    }

    /// A new group begins at the first record there is; for every other, `auto.offset.reset` would pass over records that
    /// were deleted before they were read. So each record must follow the one before it, and the first one the committed
    /// position. Gaps that the log has anyway (the marks of a transactional mirror) lie above its start.
    async fn nothing_skipped(&mut self, topic: RawTopic, partition: i32, offset: i64) -> Result<(), NormalizerError> {
        let rebalance = self.consumer.context().rebalances.load(Ordering::Relaxed);
        if rebalance != self.expected.rebalance {
            self.expected = Expected { rebalance, next: HashMap::new() };
        }
        let expected = match self.expected.next.get(&(topic, partition)) {
            Some(next) => Some(*next),
            None => self.ask(topic, partition, committed).await?,
        };
        if expected.is_some_and(|expected| offset > expected) && self.ask(topic, partition, log_start).await? > expected
        {
            return Err(NormalizerError::RecordsGone);
        }
        self.expected.next.insert((topic, partition), offset.saturating_add(1));
        Ok(())
    }

    /// Asks the broker on a thread that may block.
    async fn ask(&self, topic: RawTopic, partition: i32, question: Question) -> Result<Option<i64>, NormalizerError> {
        let (consumer, name) = (Arc::clone(&self.consumer), self.topics.raw(topic));
        let mut backoff = Backoff::default();
        loop {
            let (consumer, name) = (Arc::clone(&consumer), name.clone());
            match tokio::task::spawn_blocking(move || question(&consumer, &name, partition)).await? {
                Ok(offset) => return Ok(offset),
                Err(error) => {
                    let error = NormalizerError::from(error);
                    if !error.is_outage() {
                        return Err(error);
                    }
                    tracing::warn!(%error, "asking for a position again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Whether every record of a partition was read that is there.
    pub(super) async fn is_at_end(&self, topic: RawTopic, partition: i32) -> Result<bool, NormalizerError> {
        let end = self.ask(topic, partition, log_end).await?;
        let next = self.expected.next.get(&(topic, partition));
        Ok(next.copied() >= end)
    }

    /// Commits behind the last record of each partition that is still this consumer's: all before it in the partition
    /// are acknowledged. A commit that fails is repaired by the next one; after a crash the records are mapped again, to
    /// the same ids.
    pub(super) fn commit(&self, batch: &[Consumed], open: &mut Open) {
        let owned = match self.consumer.assignment() {
            Ok(owned) => owned,
            Err(error) => return tracing::warn!(%error, "positions are not committed"),
        };
        let named = owned.elements();
        open.keep_only(
            &named.iter().filter_map(|one| Some((self.topics.raw_of(one.topic())?, one.partition()))).collect(),
        );
        let mut next: HashMap<(&str, i32), i64> = HashMap::new();
        for record in batch {
            let (partition, behind) = (record.message.partition(), record.message.offset() + 1);
            let offset = open.earliest(record.topic, partition).map_or(behind, |first| first.min(behind));
            next.insert((record.message.topic(), partition), offset);
        }
        let mut positions = TopicPartitionList::new();
        for ((topic, partition), offset) in next {
            if owned.find_partition(topic, partition).is_none() {
                continue;
            }
            if let Err(error) = positions.add_partition_offset(topic, partition, Offset::Offset(offset)) {
                tracing::warn!(%error, "a position is not committed");
            }
        }
        if positions.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.commit(&positions, CommitMode::Async) {
            tracing::warn!(%error, "positions are not committed");
        }
    }

    /// Leaves the group; what was asked to be committed is committed.
    pub(super) async fn close(self) {
        let Self { consumer, recalled, .. } = self;
        // The last one to hold the consumer leaves the group: it must not be a look that is still going on.
        recalled.abort();
        let _aborted = recalled.await;
        let closed = tokio::task::spawn_blocking(move || {
            if consumer.fetch_metadata(None, ANSWER_AT_END).is_err() {
                // Closing would wait a session's time for a broker that is away. What is not committed is mapped again.
                return std::mem::forget(consumer);
            }
            if let Err(error) = consumer.commit_consumer_state(CommitMode::Sync) {
                tracing::debug!(%error, "nothing left to commit");
            }
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "leaving the group");
        }
    }
}

fn bytes_of(record: Option<&Consumed>) -> usize {
    record.and_then(|record| record.message.payload()).map_or(0, <[u8]>::len)
}

type Question = fn(&StreamConsumer<Group>, &str, i32) -> Result<Option<i64>, KafkaError>;

fn committed(consumer: &StreamConsumer<Group>, topic: &str, partition: i32) -> Result<Option<i64>, KafkaError> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, partition);
    let found = consumer.committed_offsets(asked, PROBE)?;
    Ok(found.find_partition(topic, partition).and_then(|found| match found.offset() {
        Offset::Offset(offset) => Some(offset),
        Offset::Invalid | Offset::Beginning | Offset::End | Offset::Stored | Offset::OffsetTail(_) => None,
    }))
}

fn log_start(consumer: &StreamConsumer<Group>, topic: &str, partition: i32) -> Result<Option<i64>, KafkaError> {
    consumer.fetch_watermarks(topic, partition, PROBE).map(|(start, _end)| Some(start))
}

fn log_end(consumer: &StreamConsumer<Group>, topic: &str, partition: i32) -> Result<Option<i64>, KafkaError> {
    consumer.fetch_watermarks(topic, partition, PROBE).map(|(_start, end)| Some(end))
}
