//! Queries what Kafka knows about partitions: the committed offsets of the group, and whether the log is still the one that was
//! read. All functions block.

use rdkafka::error::KafkaError;
use schemas::topic::Topics;

use super::{
    ask::{Asked, committed, log, position},
    group::Named,
    marks::Marks,
    resume::{Known, Log, Mark},
};
use crate::pipeline::record::RawPartition;

/// Returns what is known about each partition, and the offsets of its log.
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

/// Adds the copy of the mark to the partitions for which Kafka has no committed offset.
fn add_copies(marks: &Marks, names: &Topics, found: &mut [(Named, Known, Log)]) -> Result<(), KafkaError> {
    let mut unknown: Vec<(&Named, &mut Known, Log)> = found
        .iter_mut()
        .filter(|(_, known, _)| matches!(known, Known::Nothing))
        .map(|(named, known, log)| (&*named, known, *log))
        .collect();
    let place = |named: &Named| Some((names.raw_of(&named.0)?, named.1));
    let places: Vec<RawPartition> = unknown.iter().filter_map(|(named, ..)| place(named)).collect();
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

/// Returns the offsets of a partition's log. Also returns whether the record before `position`, if it still exists, has the
/// append time in `position`.
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
