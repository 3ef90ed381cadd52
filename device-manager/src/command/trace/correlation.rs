//! Finds the raw records of a request by the correlation id in their headers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use normalizer::group_of;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
    metadata::MetadataTopic,
    types::RDKafkaErrorCode,
};
use schemas::{
    format::RawTopic,
    raw::header,
    receipt::ItemPosition,
    upload::{Upload, UploadPart},
};
use service::cluster::Cluster;
use time::OffsetDateTime;
use uuid::Uuid;

const ANSWER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// What to search for, and where.
pub(super) struct Search {
    pub(super) cluster: Cluster,
    /// The consumer group of the normalizers. The search does not join it and commits nothing, but librdkafka requires a group
    /// id.
    pub(super) group: String,
    pub(super) correlation_id: String,
    /// The topic epoch, for the receipts.
    pub(super) topic_epoch: u16,
    pub(super) since: OffsetDateTime,
    pub(super) deadline: Instant,
    /// The maximum number of payloads that are returned.
    pub(super) payloads_max: usize,
}

/// The result of a search.
#[derive(Default)]
pub(super) struct Found {
    /// The payloads, in the order of topics.
    pub(super) positions: Vec<ItemPosition>,
    /// Whether more payloads were found than are shown.
    pub(super) is_cut: bool,
    /// The number of records that were searched.
    pub(super) records: u64,
}

/// Why a search ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum SearchError {
    #[error("Kafka does not answer")]
    Kafka(#[from] KafkaError),
    #[error("the time limit was reached after {0} raw records; use a longer --timeout-seconds or a later --since")]
    TimeOver(u64),
}

impl Search {
    /// Searches all raw records since the given time. Blocks.
    pub(super) fn run(&self) -> Result<Found, SearchError> {
        let mut found = Found::default();
        for topic in RawTopic::ALL.iter().copied() {
            self.topic(topic, &mut found)?;
        }
        found.is_cut = found.positions.len() > self.payloads_max;
        found.positions.truncate(self.payloads_max);
        Ok(found)
    }

    fn topic(&self, topic: RawTopic, found: &mut Found) -> Result<(), SearchError> {
        let consumer: BaseConsumer = self
            .cluster
            .settings
            .client()
            .set("group.id", group_of(&self.group, topic))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .create()?;
        let mut unread = self.assign(&consumer, &self.cluster.topics.raw(topic))?;
        let mut uploads = BTreeMap::new();
        while !unread.is_empty() {
            if Instant::now() > self.deadline {
                return Err(SearchError::TimeOver(found.records));
            }
            let message = match consumer.poll(POLL) {
                Some(Ok(message)) => message,
                // librdkafka reconnects by itself.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                )))
                | None => continue,
                Some(Err(error)) => return Err(error.into()),
            };
            let (partition, offset) = (message.partition(), message.offset());
            let Some(end) = unread.get(&partition).copied() else { continue };
            if offset + 1 >= end {
                unread.remove(&partition);
            }
            if offset >= end {
                continue;
            }
            found.records += 1;
            if header_of(&message, header::CORRELATION_ID) == Some(self.correlation_id.as_str()) {
                let position = ItemPosition { topic, topic_epoch: self.topic_epoch, partition, offset, item: 0 };
                found.add(position, header_of(&message, header::UPLOAD).and_then(Upload::parse), &mut uploads);
            }
        }
        Ok(())
    }

    /// Starts to read each partition of a topic at the given time. Returns the end of each partition that has records since
    /// then.
    fn assign(&self, consumer: &BaseConsumer, topic: &str) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
        let mut times = TopicPartitionList::new();
        let since_ms = self.since.unix_timestamp().saturating_mul(1_000).max(0);
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            times.add_partition_offset(topic, partition.id(), Offset::Offset(since_ms))?;
        }
        let mut unread = BTreeMap::new();
        if times.count() == 0 {
            return Ok(unread);
        }
        let mut begins = TopicPartitionList::new();
        for begin in consumer.offsets_for_times(times, ANSWER)?.elements() {
            begin.error()?;
            let (_, end) = consumer.fetch_watermarks(topic, begin.partition(), ANSWER)?;
            if let Offset::Offset(offset) = begin.offset()
                && offset < end
            {
                begins.add_partition_offset(topic, begin.partition(), Offset::Offset(offset))?;
                unread.insert(begin.partition(), end);
            }
        }
        if !unread.is_empty() {
            consumer.assign(&begins)?;
        }
        Ok(unread)
    }
}

impl Found {
    /// Adds a record. A large upload counts as one record: its manifest, which the receipt names, or its first chunk if there
    /// is no manifest.
    fn add(&mut self, position: ItemPosition, upload: Option<Upload>, uploads: &mut BTreeMap<Uuid, usize>) {
        if let Some(upload) = upload {
            let known = uploads.get(&upload.id()).and_then(|index| self.positions.get_mut(*index));
            match (known, upload.part()) {
                (Some(known), UploadPart::Manifest { .. }) => {
                    *known = position;
                    return;
                }
                (Some(_), UploadPart::Chunk { .. }) => return,
                (None, UploadPart::Manifest { .. } | UploadPart::Chunk { .. }) => {
                    uploads.insert(upload.id(), self.positions.len());
                }
            }
        }
        self.positions.push(position);
    }
}

fn header_of<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a str> {
    let found = message.headers()?.iter().find(|header| header.key == name)?;
    std::str::from_utf8(found.value?).ok()
}
