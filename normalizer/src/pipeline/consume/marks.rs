//! A second copy of the marks. Kafka forgets a group's offsets with the topic, so that a topic which is deleted and made anew
//! would look like one that nobody has read yet. The copy is committed by a group of its own on another topic, which stands
//! for the raw one.

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
    ask::{ANSWER_LONGEST, committed},
    group::Named,
    resume::Mark,
};
use crate::pipeline::record::RawPartition;

/// Reads and writes the copies.
#[derive(Clone)]
pub(super) struct Marks(Arc<BaseConsumer>);

impl Marks {
    pub(super) fn new(kafka: &KafkaSettings, group: &str) -> Result<Self, KafkaError> {
        // No member of the group: it commits and asks, and subscribes to nothing.
        let settings = kafka.consumer(&format!("{group}-marks"), GroupProtocol::Classic);
        Ok(Self(Arc::new(settings.create()?)))
    }

    pub(super) fn client(&self) -> &rdkafka::client::Client<DefaultConsumerContext> {
        self.0.client()
    }

    /// Writes them without waiting. A copy that fails is an older one, which tells as much.
    pub(super) fn write(&self, names: &Topics, marks: impl Iterator<Item = (RawPartition, Mark)>) {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), mark) in marks {
            mark.put(&mut list, &stand_in(names, topic), partition, mark.handled);
        }
        if list.count() > 0
            && let Err(error) = self.0.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "marks are not copied");
        }
        // Takes the answers of earlier ones.
        let _nothing_is_assigned = self.0.poll(Duration::ZERO);
    }

    /// The copy of each partition; blocks.
    pub(super) fn read(&self, names: &Topics, places: &[RawPartition]) -> Result<Vec<Option<Mark>>, KafkaError> {
        let named: Vec<Named> = places.iter().map(|(topic, partition)| (stand_in(names, *topic), *partition)).collect();
        let found = committed(&*self.0, &named)?;
        let mark = |(name, partition): &Named| Mark::parse(found.find_partition(name, *partition)?.metadata());
        Ok(named.iter().map(mark).collect())
    }

    /// When the record at an offset was appended, milliseconds since the epoch; blocks. None where there is no such record any
    /// more.
    pub(super) fn appended_ms(&self, (name, partition): &Named, offset: i64) -> Result<Option<i64>, KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(name, *partition, Offset::Offset(offset))?;
        self.0.assign(&list)?;
        let found = self.0.poll(ANSWER_LONGEST);
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

/// The topic that stands for a raw one. Each has another, because both have a mark for each partition.
fn stand_in(names: &Topics, topic: RawTopic) -> String {
    match topic {
        RawTopic::Medisante => names.readings(),
        RawTopic::HealthKit => names.documents(),
        RawTopic::Devices => names.assignments(),
        RawTopic::Uploads => names.readings_bulk(),
    }
}
