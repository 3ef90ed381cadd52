//! Blocking queries to Kafka.

use std::time::Duration;

use super::{
    group::{GroupContext, TopicPartition},
    resume::{Log, mapped_until},
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer, ConsumerContext, StreamConsumer},
    error::KafkaError,
};

/// How long to wait for Kafka's answer to one query.
pub(in crate::pipeline) const QUERY_TIMEOUT: Duration = Duration::from_secs(4);

/// The consumer that sends the queries.
pub(super) type GroupConsumer = StreamConsumer<GroupContext>;

/// Returns the start and end offsets of a partition's log.
pub(super) fn log(consumer: &GroupConsumer, (name, partition): &TopicPartition) -> Result<Log, KafkaError> {
    let (start, end) = consumer.fetch_watermarks(name, *partition, QUERY_TIMEOUT)?;
    Ok(Log { start, end })
}

/// Returns the offset up to which the group has mapped each partition. Partitions without a committed offset are left out.
pub(in crate::pipeline) fn group_positions(
    consumer: &GroupConsumer,
    partitions: &[TopicPartition],
) -> Result<Vec<(TopicPartition, i64)>, KafkaError> {
    let committed = committed(consumer, partitions)?;
    let found = committed.elements().into_iter().filter_map(|element| {
        let handled = mapped_until(position(element.offset())?, element.metadata());
        Some(((element.topic().to_owned(), element.partition()), handled))
    });
    Ok(found.collect())
}

/// Returns the offsets that the group of a consumer has committed.
pub(super) fn committed<X: ConsumerContext, C: Consumer<X>>(
    consumer: &C,
    partitions: &[TopicPartition],
) -> Result<TopicPartitionList, KafkaError> {
    let mut requested = TopicPartitionList::new();
    for (name, partition) in partitions {
        requested.add_partition(name, *partition);
    }
    consumer.committed_offsets(requested, QUERY_TIMEOUT)
}

/// Returns the end offset of each partition, with one request to each broker.
pub(in crate::pipeline) fn ends(
    consumer: &GroupConsumer,
    partitions: &[TopicPartition],
) -> Result<Vec<(TopicPartition, i64)>, KafkaError> {
    if partitions.is_empty() {
        // Only checks whether Kafka answers.
        consumer.fetch_metadata(None, QUERY_TIMEOUT)?;
        return Ok(Vec::new());
    }
    let ends = partitions.iter().map(|partition| (partition.clone(), Offset::End)).collect::<Vec<_>>();
    offsets(consumer, &ends)
}

/// Returns, for each partition, the offset of the first record that was appended at the given time (milliseconds since the
/// epoch) or later. Partitions without such a record are left out.
pub(in crate::pipeline) fn appended_from(
    consumer: &GroupConsumer,
    times: &[(TopicPartition, i64)],
) -> Result<Vec<(TopicPartition, i64)>, KafkaError> {
    if times.is_empty() {
        return Ok(Vec::new());
    }
    let times = times.iter().map(|(partition, time)| (partition.clone(), Offset::Offset(*time))).collect::<Vec<_>>();
    offsets(consumer, &times)
}

fn offsets(
    consumer: &GroupConsumer,
    times: &[(TopicPartition, Offset)],
) -> Result<Vec<(TopicPartition, i64)>, KafkaError> {
    let mut requested = TopicPartitionList::new();
    for ((name, partition), time) in times {
        requested.add_partition_offset(name, *partition, *time)?;
    }
    let found = consumer.offsets_for_times(requested, QUERY_TIMEOUT)?;
    let found = found.elements().into_iter();
    Ok(found
        .filter_map(|element| Some(((element.topic().to_owned(), element.partition()), position(element.offset())?)))
        .collect())
}

/// The value of an absolute offset; `None` for a logical one.
pub(super) fn position(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        Offset::Invalid | Offset::Beginning | Offset::End | Offset::Stored | Offset::OffsetTail(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_absolute_offset_is_a_position() {
        assert_eq!(position(Offset::Offset(7)), Some(7));
        for logical in [Offset::Invalid, Offset::Beginning, Offset::End, Offset::Stored, Offset::OffsetTail(3)] {
            assert_eq!(position(logical), None, "{logical:?}");
        }
    }
}
