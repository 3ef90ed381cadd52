//! A second copy of the marks. Kafka deletes a group's offsets together with the topic, so a topic that is deleted and
//! recreated would look like one that nobody has read yet. The copy is committed by a group of its own on another topic, which
//! stands in for the raw topic.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, DefaultConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use schemas::{format::RawTopic, topic::Topics};
use service::kafka::{GroupProtocol, KafkaSettings};

use super::{
    group::TopicPartition,
    query::{QUERY_TIMEOUT, committed},
    resume::Mark,
};
use crate::pipeline::record::RawPartition;

/// Reads and writes the copies of the marks.
#[derive(Clone)]
pub(super) struct Marks(Arc<BaseConsumer>);

impl Marks {
    pub(super) fn new(kafka: &KafkaSettings, group: &str) -> Result<Self, KafkaError> {
        // This consumer is not a member of the group: it commits and queries offsets, and subscribes to nothing.
        let settings = kafka.consumer(&format!("{group}-marks"), GroupProtocol::Classic);
        Ok(Self(Arc::new(settings.create()?)))
    }

    pub(super) fn client(&self) -> &rdkafka::client::Client<DefaultConsumerContext> {
        self.0.client()
    }

    /// Commits the copies asynchronously. If this fails, an older copy remains, which serves the purpose as well.
    pub(super) fn write(&self, names: &Topics, marks: impl Iterator<Item = (RawPartition, Mark)>) {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), mark) in marks {
            mark.add_to(&mut list, &stand_in(names, topic), partition, mark.handled);
        }
        if list.count() > 0
            && let Err(error) = self.0.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "the marks could not be copied");
        }
        // Handles the responses to earlier commits.
        let _nothing_is_assigned = self.0.poll(Duration::ZERO);
    }

    /// Returns the copy of the mark of each partition. Blocks.
    pub(super) fn read(
        &self,
        names: &Topics,
        raw_partitions: &[RawPartition],
    ) -> Result<Vec<Option<Mark>>, KafkaError> {
        let stand_ins: Vec<TopicPartition> =
            raw_partitions.iter().map(|(topic, partition)| (stand_in(names, *topic), *partition)).collect();
        let found = committed(&*self.0, &stand_ins)?;
        let mark = |(name, partition): &TopicPartition| Mark::parse(found.find_partition(name, *partition)?.metadata());
        Ok(stand_ins.iter().map(mark).collect())
    }

    /// Returns when the record at an offset was appended, in milliseconds since the epoch. `None` if the record does not exist
    /// any more. Blocks.
    pub(super) fn appended_ms(
        &self,
        (name, partition): &TopicPartition,
        offset: i64,
    ) -> Result<Option<i64>, KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(name, *partition, Offset::Offset(offset))?;
        self.0.assign(&list)?;
        let found = self.0.poll(QUERY_TIMEOUT);
        let appended_ms = match found {
            Some(Ok(message)) if message.offset() == offset => Ok(message.timestamp().to_millis()),
            Some(
                Ok(_)
                | Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                )),
            ) => Ok(None),
            Some(Err(error)) => Err(error),
            None => Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)),
        };
        self.0.unassign()?;
        appended_ms
    }
}

/// The topic that stands in for a raw topic. Each raw topic has a different one, because all have a mark for each partition
/// number.
fn stand_in(names: &Topics, topic: RawTopic) -> String {
    match topic {
        RawTopic::Medisante => names.readings(),
        RawTopic::HealthKit => names.documents(),
        RawTopic::Devices => names.assignments(),
        RawTopic::Uploads => names.readings_bulk(),
    }
}
