//! Reads ranges of raw topics from Kafka, with consumers that join no group and commit nothing. All functions block.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, OwnedMessage},
    metadata::{MetadataPartition, MetadataTopic},
    types::RDKafkaErrorCode,
};
use schemas::{format::RawTopic, topic::Topics};
use service::kafka::KafkaSettings;
use store::replay::RawRange;
use time::OffsetDateTime;

use crate::{error::ReplayError, scope::Scope};

pub(crate) const ANSWER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// How long a partition that has more records may return none.
const SILENCE_LONGEST: Duration = Duration::from_mins(1);

/// A cluster, the names of its topics, and the epoch of its raw topics.
#[derive(Clone)]
pub(crate) struct RawLog {
    pub(crate) settings: KafkaSettings,
    pub(crate) topics: Topics,
    pub(crate) topic_epoch: u16,
    /// librdkafka requires a group id, also of a consumer that joins no group.
    pub(crate) group: String,
}

/// The part of a partition that a scope covers.
pub(crate) struct Covered {
    /// The records that exist.
    pub(crate) range: RawRange,
    /// The offsets at the start of the log whose records no longer exist.
    pub(crate) deleted: Range<i64>,
    /// Whether the scope has a condition on the time and the time of the deleted records is not known.
    pub(crate) is_time_unknown: bool,
}

impl RawLog {
    pub(crate) fn consumer(&self) -> Result<BaseConsumer, KafkaError> {
        self.settings
            .client()
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            // The end of a log may consist of the markers of transactions, which are not passed on.
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "8192")
            .create()
    }

    /// Returns the parts of the partitions that the scope covers, up to the ends of the logs at this moment.
    pub(crate) fn covered(&self, scope: &Scope) -> Result<Vec<Covered>, KafkaError> {
        let consumer = self.consumer()?;
        let mut covered = Vec::new();
        for topic in scope.topics() {
            covered.extend(self.covered_of(&consumer, topic, scope)?);
        }
        Ok(covered)
    }

    fn covered_of(&self, consumer: &BaseConsumer, topic: RawTopic, scope: &Scope) -> Result<Vec<Covered>, KafkaError> {
        let name = self.topics.raw(topic);
        let mut covered = Vec::new();
        for partition in partitions(consumer, &name)? {
            let (start, end) = consumer.fetch_watermarks(&name, partition, ANSWER)?;
            let at = |time: Option<OffsetDateTime>, otherwise| match time {
                Some(time) => offset_at(consumer, &name, partition, time).map(|offset| offset.unwrap_or(end)),
                None => Ok(otherwise),
            };
            // Before the first record that exists, any time is possible.
            let since = at(scope.since, 0)?;
            let (mut first, mut last) = (if since > start { since } else { 0 }, at(scope.until, end)?);
            let is_time_unknown = scope.since.is_some() || (scope.until.is_some() && last <= start);
            if let Some(position) = scope.receipt {
                if position.partition != partition {
                    continue;
                }
                (first, last) = (position.offset.max(first), (position.offset + 1).min(last));
            }
            if scope.is_redrive() {
                let of_partition = || {
                    let records = scope.records.iter().filter(|raw| raw.topic == topic && raw.partition == partition);
                    records.map(|raw| raw.offset)
                };
                let (Some(least), Some(greatest)) = (of_partition().min(), of_partition().max()) else { continue };
                (first, last) = (least.max(first), (greatest + 1).min(last));
            }
            let deleted = first..start.min(last);
            let first = first.max(deleted.end);
            let range = RawRange { topic, topic_epoch: self.topic_epoch, partition, first, end: last };
            covered.push(Covered { range, deleted, is_time_unknown });
        }
        Ok(covered)
    }

    /// Returns the end of each partition of the event topics, by the topic's full name and the partition.
    pub(crate) fn ends_of_events(&self) -> Result<BTreeMap<(String, i32), i64>, KafkaError> {
        let (consumer, topics) = (self.consumer()?, &self.topics);
        let mut ends = BTreeMap::new();
        for topic in [
            topics.readings(),
            topics.readings_bulk(),
            topics.assignments(),
            topics.documents(),
            topics.outcomes(),
            topics.dead_letters(),
        ] {
            for partition in partitions(&consumer, &topic)? {
                let (_, end) = consumer.fetch_watermarks(&topic, partition, ANSWER)?;
                ends.insert((topic.clone(), partition), end);
            }
        }
        Ok(ends)
    }

    /// Returns the offsets of the records that exist in the partition of a range.
    pub(crate) fn bounds(&self, range: &RawRange) -> Result<Range<i64>, KafkaError> {
        let (start, end) = self.consumer()?.fetch_watermarks(&self.topics.raw(range.topic), range.partition, ANSWER)?;
        Ok(start..end)
    }

    /// Returns whether a record of a range has a value.
    pub(crate) fn has_value(&self, range: &RawRange) -> Result<bool, ReplayError> {
        let mut has_value = false;
        self.visit_until_gone(range, |message| {
            has_value |= message.payload().is_some();
            Ok(true)
        })?;
        Ok(has_value)
    }

    /// Passes each record of a range to `each`, in the order of offsets, until that returns `false`. If Kafka has deleted the next
    /// records of the range in the meantime, it ends before them and returns their offsets: reading may go on after them.
    pub(crate) fn read(
        &self,
        range: &RawRange,
        mut each: impl FnMut(OwnedMessage) -> Result<bool, ReplayError>,
    ) -> Result<Option<Range<i64>>, ReplayError> {
        self.visit_until_gone(range, |message| each(message.detach()))
    }

    /// The same as [`RawLog::read`], without a copy of each record. Fails if records are deleted in the meantime.
    pub(crate) fn visit(
        &self,
        range: &RawRange,
        each: impl FnMut(&BorrowedMessage<'_>) -> Result<bool, ReplayError>,
    ) -> Result<(), ReplayError> {
        match self.visit_until_gone(range, each)? {
            Some(_gone) => Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OffsetOutOfRange).into()),
            None => Ok(()),
        }
    }

    /// The same as [`RawLog::read`], without a copy of each record.
    pub(crate) fn visit_until_gone(
        &self,
        range: &RawRange,
        mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<bool, ReplayError>,
    ) -> Result<Option<Range<i64>>, ReplayError> {
        if range.first >= range.end {
            return Ok(None);
        }
        let (consumer, name) = (self.consumer()?, self.topics.raw(range.topic));
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&name, range.partition, Offset::Offset(range.first))?;
        consumer.assign(&from)?;
        let (mut next, mut last_record) = (range.first, Instant::now());
        while next < range.end {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    (next, last_record) = (message.offset() + 1, Instant::now());
                    if next <= range.end && !each(&message)? {
                        return Ok(None);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(
                    error @ KafkaError::MessageConsumption(
                        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                    ),
                )) => {
                    let (start, _) = consumer.fetch_watermarks(&name, range.partition, ANSWER)?;
                    return if start > next { Ok(Some(next..start.min(range.end))) } else { Err(error.into()) };
                }
                // librdkafka reconnects by itself.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                )))
                | None => {}
                Some(Err(error)) => return Err(error.into()),
            }
            if last_record.elapsed() > SILENCE_LONGEST {
                let (topic, seconds) = (name, SILENCE_LONGEST.as_secs());
                return Err(ReplayError::Silent { topic, partition: range.partition, offset: next, seconds });
            }
        }
        Ok(None)
    }
}

/// Returns the partitions of a topic.
pub(crate) fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    Ok(metadata.topics().iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id).collect())
}

/// Returns the offset of the first record that Kafka received at a time or later; `None` if there is none.
pub(crate) fn offset_at(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    time: OffsetDateTime,
) -> Result<Option<i64>, KafkaError> {
    let time_ms = i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX).max(0);
    let mut times = TopicPartitionList::new();
    times.add_partition_offset(topic, partition, Offset::Offset(time_ms))?;
    let found = consumer.offsets_for_times(times, ANSWER)?;
    Ok(found.find_partition(topic, partition).and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    }))
}
