//! Queries what Kafka knows about partitions: the committed offsets of the group, and whether the log is still the one that was
//! read. All functions block.

use rdkafka::error::KafkaError;
use schemas::topic::Topics;

use super::{
    group::TopicPartition,
    marks::Marks,
    query::{GroupConsumer, committed, log, position},
    resume::{Known, Log, Mark},
};
use crate::pipeline::record::RawPartition;

/// Returns what is known about each partition, and the offsets of its log.
pub(super) fn positions(
    consumer: &GroupConsumer,
    marks: &Marks,
    names: &Topics,
    partitions: &[TopicPartition],
) -> Result<Vec<(TopicPartition, Known, Log)>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let committed = committed(consumer, partitions)?;
    let mut found: Vec<(TopicPartition, Known, Log)> = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let log = log(consumer, partition)?;
        let position = committed
            .find_partition(&partition.0, partition.1)
            .and_then(|element| Some((position(element.offset())?, element)));
        let known = match position {
            Some((offset, element)) => Known::Committed { offset, mark: Mark::parse(element.metadata()) },
            None => Known::Nothing,
        };
        found.push((partition.clone(), known, log));
    }
    add_copies(marks, names, &mut found)?;
    Ok(found)
}

/// Adds the copy of the mark to the partitions for which Kafka has no committed offset.
fn add_copies(marks: &Marks, names: &Topics, found: &mut [(TopicPartition, Known, Log)]) -> Result<(), KafkaError> {
    let mut unknown: Vec<(&TopicPartition, &mut Known, Log)> = found
        .iter_mut()
        .filter(|(_, known, _)| matches!(known, Known::Nothing))
        .map(|(partition, known, log)| (&*partition, known, *log))
        .collect();
    let raw_partition = |partition: &TopicPartition| Some((names.raw_of(&partition.0)?, partition.1));
    let raw_partitions: Vec<RawPartition> =
        unknown.iter().filter_map(|(partition, ..)| raw_partition(partition)).collect();
    if raw_partitions.is_empty() {
        return Ok(());
    }
    for ((partition, known, log), mark) in unknown.iter_mut().zip(marks.read(names, &raw_partitions)?) {
        if let Some(mark) = mark {
            let exists = mark.handled > log.start && mark.handled <= log.end;
            let found_ms = if exists { marks.appended_ms(partition, mark.handled - 1)? } else { None };
            **known = Known::Copy { mark, found_ms };
        }
    }
    Ok(())
}

/// Returns the offsets of a partition's log. Also returns whether the record before `position`, if it still exists, has the
/// append time in `position`.
pub(super) fn compare_log(
    consumer: &GroupConsumer,
    marks: &Marks,
    partition: &TopicPartition,
    position: Option<(i64, i64)>,
) -> Result<(Log, bool), KafkaError> {
    let log = log(consumer, partition)?;
    let is_same = match position {
        Some((handled, appended_ms)) if handled > log.start && handled <= log.end => {
            marks.appended_ms(partition, handled - 1)?.is_none_or(|found_ms| found_ms == appended_ms)
        }
        Some(_) | None => true,
    };
    Ok((log, is_same))
}
