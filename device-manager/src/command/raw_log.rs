//! Reads the topics for operator's commands, with consumers that join no group and commit nothing. All functions block.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _, OwnedMessage},
    metadata::{MetadataPartition, MetadataTopic},
    types::RDKafkaErrorCode,
};
use schemas::{
    format::{Provider, RawTopic},
    raw::header,
    receipt::{ItemPosition, RawPosition},
    upload::{Upload, UploadPart},
};
use service::cluster::Cluster;
use store::{replay::RawRange, trace::NextOffset};
use time::OffsetDateTime;
use uuid::Uuid;

const ANSWER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// How long a partition that has more records may return none.
const SILENCE_LONGEST: Duration = Duration::from_secs(30);
/// librdkafka requires a group id, also of a consumer that joins no group.
const GROUP: &str = "device-manager-operator";

/// Why the topics cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("Kafka does not answer")]
    Kafka(#[from] KafkaError),
    #[error("the time limit was reached after {0} raw records; use a longer --timeout-seconds or a later --since")]
    TimeOver(u64),
    #[error("{topic} partition {partition} returned no record from offset {offset} on")]
    Silent { topic: String, partition: i32, offset: i64 },
    #[error("{topic} partition {partition} has no record {offset} any more")]
    Deleted { topic: String, partition: i32, offset: i64 },
}

/// The payloads to search for, and where.
pub(crate) struct Search {
    pub(crate) cluster: Cluster,
    pub(crate) wanted: Wanted,
    /// The topic epoch, for the receipts.
    pub(crate) topic_epoch: u16,
    pub(crate) since: OffsetDateTime,
    pub(crate) until: Option<OffsetDateTime>,
    pub(crate) deadline: Instant,
    /// The maximum number of payloads that are returned.
    pub(crate) payloads_max: usize,
}

/// Conditions on the headers of raw records. An absent condition does not restrict them.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) correlation_id: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) provider: Option<Provider>,
}

impl Wanted {
    fn includes(&self, message: &BorrowedMessage<'_>) -> bool {
        let is = |wanted: &Option<String>, name| {
            wanted.as_deref().is_none_or(|wanted| header_of(message, name) == Some(wanted))
        };
        is(&self.correlation_id, header::CORRELATION_ID) && is(&self.source, header::SOURCE)
    }

    /// The raw topics that can have such records. Device commands are of all providers.
    fn topics(&self) -> impl Iterator<Item = RawTopic> {
        let provider = self.provider;
        RawTopic::ALL.iter().copied().filter(move |topic| provider.is_none() || topic.provider() == provider)
    }
}

/// A payload that was found.
#[derive(Debug, Clone)]
pub(crate) struct FoundRecord {
    pub(crate) position: ItemPosition,
    pub(crate) received_at: Option<OffsetDateTime>,
    pub(crate) format: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) correlation_id: Option<String>,
}

/// The result of a search.
#[derive(Default)]
pub(crate) struct Found {
    /// The payloads, in the order of topics.
    pub(crate) payloads: Vec<FoundRecord>,
    /// Whether there are more payloads than are returned.
    pub(crate) is_cut: bool,
    /// The number of records that were searched.
    pub(crate) records: u64,
}

impl Search {
    /// Searches the raw records of the time span.
    pub(crate) fn run(&self) -> Result<Found, ReadError> {
        let mut found = Found::default();
        for topic in self.wanted.topics() {
            self.topic(topic, &mut found)?;
        }
        found.is_cut = found.payloads.len() > self.payloads_max;
        found.payloads.truncate(self.payloads_max);
        Ok(found)
    }

    fn topic(&self, topic: RawTopic, found: &mut Found) -> Result<(), ReadError> {
        let consumer = consumer(&self.cluster)?;
        let name = self.cluster.topics.raw(topic);
        let mut unread: BTreeMap<i32, i64> = BTreeMap::new();
        let mut begins = TopicPartitionList::new();
        for (partition, range) in spans(&consumer, &name, self.since, self.until)? {
            if !range.is_empty() {
                begins.add_partition_offset(&name, partition, Offset::Offset(range.start))?;
                unread.insert(partition, range.end);
            }
        }
        consumer.assign(&begins)?;
        let mut uploads = BTreeMap::new();
        while !unread.is_empty() {
            if Instant::now() > self.deadline {
                return Err(ReadError::TimeOver(found.records));
            }
            let Some(message) = poll(&consumer)? else { continue };
            let (partition, offset) = (message.partition(), message.offset());
            let Some(end) = unread.get(&partition).copied() else { continue };
            if offset + 1 >= end {
                unread.remove(&partition);
            }
            if offset >= end {
                continue;
            }
            found.records += 1;
            if self.wanted.includes(&message) {
                let position = ItemPosition { topic, topic_epoch: self.topic_epoch, partition, offset, item: 0 };
                found.add(record_of(&message, position), upload_of(&message), &mut uploads);
            }
            // The manifest of an upload that was found may be among the records that follow.
            if found.payloads.len() > self.payloads_max && topic != RawTopic::Uploads {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Found {
    /// Adds a record. A large upload counts as one record: its manifest, which the receipt names, or its first chunk if there
    /// is no manifest.
    fn add(&mut self, record: FoundRecord, upload: Option<Upload>, uploads: &mut BTreeMap<Uuid, usize>) {
        if let Some(upload) = upload {
            let known = uploads.get(&upload.id()).and_then(|index| self.payloads.get_mut(*index));
            match (known, upload.part()) {
                (Some(known), UploadPart::Manifest { .. }) => {
                    *known = record;
                    return;
                }
                (Some(_), UploadPart::Chunk { .. }) => return,
                (None, UploadPart::Manifest { .. } | UploadPart::Chunk { .. }) => {
                    uploads.insert(upload.id(), self.payloads.len());
                }
            }
        }
        self.payloads.push(record);
    }
}

fn record_of(message: &impl Message, position: ItemPosition) -> FoundRecord {
    let text = |name| header_of(message, name).map(str::to_owned);
    let at_ms = message.timestamp().to_millis();
    FoundRecord {
        position,
        received_at: at_ms.and_then(|at| OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000).ok()),
        format: text(header::FORMAT),
        source: text(header::SOURCE),
        correlation_id: text(header::CORRELATION_ID),
    }
}

/// Returns the raw records that Kafka received in a time span, for each partition of the raw topics, and the records that exist.
pub(crate) fn window(
    cluster: &Cluster,
    topic_epoch: u16,
    provider: Option<Provider>,
    (since, until): (OffsetDateTime, OffsetDateTime),
) -> Result<Vec<(RawRange, Range<i64>)>, ReadError> {
    let consumer = consumer(cluster)?;
    let wanted = Wanted { provider, ..Wanted::default() };
    let mut ranges = Vec::new();
    for topic in wanted.topics() {
        let name = cluster.topics.raw(topic);
        for (partition, range) in spans(&consumer, &name, since, Some(until))? {
            let (start, end) = consumer.fetch_watermarks(&name, partition, ANSWER)?;
            ranges.push((RawRange { topic, topic_epoch, partition, first: range.start, end: range.end }, start..end));
        }
    }
    Ok(ranges)
}

/// Returns the number of events that no sink has read yet.
pub(crate) fn unread_events(cluster: &Cluster, next: &[NextOffset]) -> Result<i64, KafkaError> {
    let consumer = consumer(cluster)?;
    let mut unread = 0;
    for NextOffset { topic, partition, next_offset } in next {
        let (_, end) = consumer.fetch_watermarks(topic, *partition, ANSWER)?;
        unread += end.saturating_sub(*next_offset).max(0);
    }
    Ok(unread)
}

/// Returns the offsets of each partition of a topic that were appended in a time span.
fn spans(
    consumer: &BaseConsumer,
    topic: &str,
    since: OffsetDateTime,
    until: Option<OffsetDateTime>,
) -> Result<Vec<(i32, Range<i64>)>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let partitions: Vec<i32> =
        metadata.topics().iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id).collect();
    let (from, to) = (offsets_at(consumer, topic, &partitions, since)?, until);
    let to = to.map(|until| offsets_at(consumer, topic, &partitions, until)).transpose()?;
    let mut spans = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let (_, end) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
        let last = to.as_ref().and_then(|to| to.get(&partition).copied()).unwrap_or(end).min(end);
        let first = from.get(&partition).copied().unwrap_or(end).min(last);
        spans.push((partition, first..last));
    }
    Ok(spans)
}

/// Returns the first offset at a time or later, for each partition that has one.
fn offsets_at(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: &[i32],
    at: OffsetDateTime,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut times = TopicPartitionList::new();
    let at_ms = i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX).max(0);
    for partition in partitions {
        times.add_partition_offset(topic, *partition, Offset::Offset(at_ms))?;
    }
    let mut offsets = BTreeMap::new();
    if times.count() == 0 {
        return Ok(offsets);
    }
    for found in consumer.offsets_for_times(times, ANSWER)?.elements() {
        found.error()?;
        if let Offset::Offset(offset) = found.offset() {
            offsets.insert(found.partition(), offset);
        }
    }
    Ok(offsets)
}

/// Returns one record of a topic, given by its full name.
pub(crate) fn record(cluster: &Cluster, topic: &str, partition: i32, offset: i64) -> Result<OwnedMessage, ReadError> {
    let mut found = None;
    records(cluster, topic, partition, offset..offset + 1, |message| {
        found = Some(message);
        true
    })?;
    found.ok_or_else(|| ReadError::Deleted { topic: topic.to_owned(), partition, offset })
}

/// Returns what the headers of raw records say. Records that do not exist any more are left out. Neighbours are read together.
pub(crate) fn described(
    cluster: &Cluster,
    topic_epoch: u16,
    wanted: &BTreeSet<RawPosition>,
) -> Result<Vec<FoundRecord>, ReadError> {
    /// The greatest distance of neighbours.
    const GAP: i64 = 1_000;
    let (consumer, mut found) = (consumer(cluster)?, Vec::new());
    let wanted: Vec<RawPosition> =
        wanted.iter().copied().filter(|raw| raw.topic_epoch == i32::from(topic_epoch)).collect();
    let are_neighbours = |one: &RawPosition, next: &RawPosition| {
        (one.topic, one.partition) == (next.topic, next.partition) && next.offset - one.offset <= GAP
    };
    for run in wanted.chunk_by(are_neighbours) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let (topic, partition, name) = (first.topic, first.partition, cluster.topics.raw(first.topic));
        records_with(&consumer, &name, partition, first.offset..last.offset + 1, |message| {
            let offset = message.offset();
            if run.binary_search_by_key(&offset, |raw| raw.offset).is_ok() {
                let position = ItemPosition { topic, topic_epoch, partition, offset, item: 0 };
                found.push(record_of(&message, position));
            }
            true
        })?;
    }
    Ok(found)
}

/// Passes the records of a range that exist to `each`, until that returns `false`.
pub(crate) fn records(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    range: Range<i64>,
    each: impl FnMut(OwnedMessage) -> bool,
) -> Result<(), ReadError> {
    records_with(&consumer(cluster)?, topic, partition, range, each)
}

fn records_with(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    range: Range<i64>,
    mut each: impl FnMut(OwnedMessage) -> bool,
) -> Result<(), ReadError> {
    let (start, end) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
    let mut next = range.start.max(start);
    let end = range.end.min(end);
    if next >= end {
        return Ok(());
    }
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, partition, Offset::Offset(next))?;
    consumer.assign(&from)?;
    let mut last_record = Instant::now();
    while next < end {
        if let Some(message) = poll(consumer)? {
            (next, last_record) = (message.offset() + 1, Instant::now());
            if next > end || !each(message.detach()) {
                return Ok(());
            }
        } else if last_record.elapsed() > SILENCE_LONGEST {
            return Err(ReadError::Silent { topic: topic.to_owned(), partition, offset: next });
        }
    }
    Ok(())
}

fn consumer(cluster: &Cluster) -> Result<BaseConsumer, KafkaError> {
    let mut config = cluster.settings.client();
    config.set("group.id", GROUP).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest").create()
}

fn poll(consumer: &BaseConsumer) -> Result<Option<BorrowedMessage<'_>>, KafkaError> {
    match consumer.poll(POLL) {
        Some(Ok(message)) => Ok(Some(message)),
        // librdkafka reconnects by itself.
        Some(Err(KafkaError::MessageConsumption(
            RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
        )))
        | None => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

/// The upload that a record belongs to.
pub(crate) fn upload_of(message: &impl Message) -> Option<Upload> {
    header_of(message, header::UPLOAD).and_then(Upload::parse)
}

/// The text of a header.
pub(crate) fn header_of<'a, M: Message>(message: &'a M, name: &str) -> Option<&'a str> {
    let headers = message.headers()?;
    let found = (0..headers.count()).filter_map(|index| headers.try_get(index)).find(|header| header.key == name)?;
    std::str::from_utf8(found.value?).ok()
}
