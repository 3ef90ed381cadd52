//! Blocking queries to Kafka.

use std::time::Duration;

use super::{
    group::{Group, Named},
    resume::{Log, mapped_until},
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer, ConsumerContext, StreamConsumer},
    error::KafkaError,
};

/// How long to wait for Kafka's answer to one query.
pub(in crate::pipeline) const ANSWER_LONGEST: Duration = Duration::from_secs(4);

/// The consumer that sends the queries.
pub(super) type Asked = StreamConsumer<Group>;

/// Returns the start and end offsets of a partition's log.
pub(super) fn log(consumer: &Asked, (name, partition): &Named) -> Result<Log, KafkaError> {
    let (start, end) = consumer.fetch_watermarks(name, *partition, ANSWER_LONGEST)?;
    Ok(Log { start, end })
}

/// Returns the offset up to which the group has mapped each partition. Partitions without a committed offset are left out.
pub(in crate::pipeline) fn group_positions(consumer: &Asked, named: &[Named]) -> Result<Vec<(Named, i64)>, KafkaError> {
    let committed = committed(consumer, named)?;
    let found = committed.elements().into_iter().filter_map(|one| {
        let handled = mapped_until(position(one.offset())?, one.metadata());
        Some(((one.topic().to_owned(), one.partition()), handled))
    });
    Ok(found.collect())
}

/// Returns the offsets that the group of a consumer has committed.
pub(super) fn committed<X: ConsumerContext, C: Consumer<X>>(
    consumer: &C,
    named: &[Named],
) -> Result<TopicPartitionList, KafkaError> {
    let mut asked = TopicPartitionList::new();
    for (name, partition) in named {
        asked.add_partition(name, *partition);
    }
    consumer.committed_offsets(asked, ANSWER_LONGEST)
}

/// Returns the end offset of each partition, with one request to each broker.
pub(in crate::pipeline) fn ends(consumer: &Asked, named: &[Named]) -> Result<Vec<(Named, i64)>, KafkaError> {
    if named.is_empty() {
        // Only checks whether Kafka answers.
        consumer.fetch_metadata(None, ANSWER_LONGEST)?;
        return Ok(Vec::new());
    }
    let ends = named.iter().map(|named| (named.clone(), Offset::End)).collect::<Vec<_>>();
    offsets(consumer, &ends)
}

/// Returns, for each partition, the offset of the first record that was appended at the given time (milliseconds since the
/// epoch) or later. Partitions without such a record are left out.
pub(in crate::pipeline) fn appended_from(
    consumer: &Asked,
    times: &[(Named, i64)],
) -> Result<Vec<(Named, i64)>, KafkaError> {
    if times.is_empty() {
        return Ok(Vec::new());
    }
    let times = times.iter().map(|(named, time)| (named.clone(), Offset::Offset(*time))).collect::<Vec<_>>();
    offsets(consumer, &times)
}

fn offsets(consumer: &Asked, times: &[(Named, Offset)]) -> Result<Vec<(Named, i64)>, KafkaError> {
    let mut asked = TopicPartitionList::new();
    for ((name, partition), time) in times {
        asked.add_partition_offset(name, *partition, *time)?;
    }
    let found = consumer.offsets_for_times(asked, ANSWER_LONGEST)?;
    let found = found.elements().into_iter();
    Ok(found.filter_map(|one| Some(((one.topic().to_owned(), one.partition()), position(one.offset())?))).collect())
}

/// The value of an absolute offset; `None` for a logical one.
pub(super) fn position(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        Offset::Invalid | Offset::Beginning | Offset::End | Offset::Stored | Offset::OffsetTail(_) => None,
    }
}
