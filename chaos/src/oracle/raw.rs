//! The raw topics, as they are on Kafka.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
    types::RDKafkaErrorCode,
};
use schemas::{
    format::RawTopic,
    raw::{HeaderError, Headers},
    receipt::RawPosition,
    topic::Topics,
};
use service::kafka::KafkaSettings;

const ANSWER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// How long a partition that has more records may return none.
const SILENCE_LONGEST: Duration = Duration::from_secs(30);

/// A raw record. Contains a body, so it implements no `Debug`.
pub(crate) struct Record {
    /// When the broker appended it, in microseconds since the epoch.
    pub(crate) received_at: i64,
    pub(crate) headers: Result<Headers, HeaderError>,
    pub(crate) body: Vec<u8>,
}

/// All raw records.
pub(crate) type Records = BTreeMap<RawPosition, Record>;

/// Reads what was appended to the raw topics since the records that are known. Returns whether there was anything. Blocks.
pub(crate) fn read_new(
    kafka: &KafkaSettings,
    topics: &Topics,
    partitions: u16,
    records: &mut Records,
) -> Result<bool, KafkaError> {
    let consumer: BaseConsumer = kafka
        .client()
        .set("group.id", "chaos-oracle")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .create()?;
    let (before, reader) = (records.len(), Reader { consumer, topics });
    for topic in RawTopic::ALL.iter().copied() {
        for partition in 0..i32::from(partitions) {
            reader.read_partition(topic, partition, records)?;
        }
    }
    Ok(records.len() > before)
}

struct Reader<'t> {
    consumer: BaseConsumer,
    topics: &'t Topics,
}

impl Reader<'_> {
    fn read_partition(&self, topic: RawTopic, partition: i32, records: &mut Records) -> Result<(), KafkaError> {
        let (consumer, name) = (&self.consumer, self.topics.raw(topic));
        let position = |offset| RawPosition { topic, topic_epoch: 0, partition, offset };
        let known = records.range(position(0)..position(i64::MAX)).next_back().map(|(position, _)| position.offset);
        let (mut next, (_, end)) =
            (known.map_or(0, |last| last + 1), consumer.fetch_watermarks(&name, partition, ANSWER)?);
        if next >= end {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&name, partition, Offset::Offset(next))?;
        consumer.assign(&list)?;
        let mut heard = Instant::now();
        while next < end {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    next = message.offset() + 1;
                    records.insert(position(message.offset()), record(topic, &message));
                }
                Some(Err(error)) => tracing::debug!(%error, "the oracle reads again"),
                None => {}
            }
            if heard.elapsed() > SILENCE_LONGEST {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
            }
        }
        Ok(())
    }
}

fn record(topic: RawTopic, message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        received_at: message.timestamp().to_millis().unwrap_or_default().saturating_mul(1_000),
        headers: Headers::read(topic, headers.filter_map(|header| header.value.map(|value| (header.key, value)))),
        body: message.payload().unwrap_or_default().to_vec(),
    }
}
