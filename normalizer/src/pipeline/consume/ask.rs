//! Questions to Kafka, which block.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer, ConsumerContext, StreamConsumer},
    error::KafkaError,
};
use schemas::topic::Topics;

use super::{
    Place,
    group::{Group, Named},
    marks::Marks,
    resume::{Known, Log, Mark},
};
use crate::mapped_until;

/// How long Kafka may take to answer one question.
pub(in crate::pipeline) const ANSWER_LONGEST: Duration = Duration::from_secs(4);

type Asked = StreamConsumer<Group>;

/// What is known of each partition, and what its log holds.
pub(super) fn positions(
    consumer: &Asked,
    marks: &Marks,
    names: &Topics,
    named: &[Named],
) -> Result<Vec<(Named, Known, Log)>, KafkaError> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let committed = committed(consumer, named)?;
    let mut found: Vec<(Named, Known, Log)> = Vec::with_capacity(named.len());
    for named in named {
        let log = log(consumer, named)?;
        let position = committed.find_partition(&named.0, named.1).and_then(|one| Some((position(one.offset())?, one)));
        let known = match position {
            Some((offset, one)) => Known::Committed { offset, mark: Mark::parse(one.metadata()) },
            None => Known::Nothing,
        };
        found.push((named.clone(), known, log));
    }
    add_copies(marks, names, &mut found)?;
    Ok(found)
}

/// Looks for copies of the marks of which Kafka has nothing.
fn add_copies(marks: &Marks, names: &Topics, found: &mut [(Named, Known, Log)]) -> Result<(), KafkaError> {
    let mut unknown: Vec<(&Named, &mut Known, Log)> = found
        .iter_mut()
        .filter(|(_, known, _)| matches!(known, Known::Nothing))
        .map(|(named, known, log)| (&*named, known, *log))
        .collect();
    let place = |named: &Named| Some((names.raw_of(&named.0)?, named.1));
    let places: Vec<Place> = unknown.iter().filter_map(|(named, ..)| place(named)).collect();
    if places.is_empty() {
        return Ok(());
    }
    for ((named, known, log), mark) in unknown.iter_mut().zip(marks.read(names, &places)?) {
        if let Some(mark) = mark {
            let is_there = mark.handled > log.start && mark.handled <= log.end;
            let found_ms = if is_there { marks.appended_ms(named, mark.handled - 1)? } else { None };
            **known = Known::Copy { mark, found_ms };
        }
    }
    Ok(())
}

/// Between which offsets the log of a partition lies.
pub(super) fn log(consumer: &Asked, (name, partition): &Named) -> Result<Log, KafkaError> {
    let (start, end) = consumer.fetch_watermarks(name, *partition, ANSWER_LONGEST)?;
    Ok(Log { start, end })
}

/// The log of a partition, and whether the record before a position, where there is one, was appended when it was.
pub(super) fn look(
    consumer: &Asked,
    marks: &Marks,
    named: &Named,
    position: Option<(i64, i64)>,
) -> Result<(Log, bool), KafkaError> {
    let log = log(consumer, named)?;
    let is_same = match position {
        Some((handled, appended_ms)) if handled > log.start && handled <= log.end => {
            marks.appended_ms(named, handled - 1)?.is_none_or(|found_ms| found_ms == appended_ms)
        }
        Some(_) | None => true,
    };
    Ok((log, is_same))
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
fn position(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        Offset::Invalid | Offset::Beginning | Offset::End | Offset::Stored | Offset::OffsetTail(_) => None,
    }
}
