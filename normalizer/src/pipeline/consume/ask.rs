//! Questions to Kafka, which block.

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

/// How long Kafka may take to answer one question.
pub(in crate::pipeline) const ANSWER_LONGEST: Duration = Duration::from_secs(4);

/// The consumer that is asked.
pub(super) type Asked = StreamConsumer<Group>;

/// Between which offsets the log of a partition lies.
pub(super) fn log(consumer: &Asked, (name, partition): &Named) -> Result<Log, KafkaError> {
    let (start, end) = consumer.fetch_watermarks(name, *partition, ANSWER_LONGEST)?;
    Ok(Log { start, end })
}

/// Up to where the group has come in each partition; those without a position are left out.
pub(in crate::pipeline) fn group_positions(consumer: &Asked, named: &[Named]) -> Result<Vec<(Named, i64)>, KafkaError> {
    let committed = committed(consumer, named)?;
    let found = committed.elements().into_iter().filter_map(|one| {
        let handled = mapped_until(position(one.offset())?, one.metadata());
        Some(((one.topic().to_owned(), one.partition()), handled))
    });
    Ok(found.collect())
}

/// What a group committed.
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

/// Behind the last record of each partition, with one question to each broker.
pub(in crate::pipeline) fn ends(consumer: &Asked, named: &[Named]) -> Result<Vec<(Named, i64)>, KafkaError> {
    if named.is_empty() {
        // Only whether anybody answers.
        consumer.fetch_metadata(None, ANSWER_LONGEST)?;
        return Ok(Vec::new());
    }
    let ends = named.iter().map(|named| (named.clone(), Offset::End)).collect::<Vec<_>>();
    offsets(consumer, &ends)
}

/// The first record of each partition that was appended at a time, milliseconds since the epoch, or later; those without one are
/// left out.
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

/// A real offset.
pub(super) fn position(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        Offset::Invalid | Offset::Beginning | Offset::End | Offset::Stored | Offset::OffsetTail(_) => None,
    }
}
