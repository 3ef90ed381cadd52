//! Decides where to start reading a partition, from what the group committed and what the log contains now.
//!
//! The metadata of a commit is a mark: the offset up to which records are handled, when the last of them was appended, and the
//! topic epoch. So a recreated topic is detected even when it has grown past the old position. An open upload holds back the
//! committed offset, but does not cause the finished uploads after it to be mapped again.

use rdkafka::{Offset, TopicPartitionList};

/// The metadata of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Mark {
    /// The topic epoch.
    pub(super) epoch: u16,
    /// All records before this offset are handled. The committed offset may be lower, at the first chunk of an open upload.
    pub(in crate::pipeline) handled: i64,
    /// When the record before `handled` was appended, in milliseconds since the epoch.
    pub(super) appended_ms: i64,
}

impl Mark {
    /// Adds an offset, with the mark as its metadata, to the list of what is committed.
    pub(super) fn add_to(&self, list: &mut TopicPartitionList, name: &str, partition: i32, offset: i64) {
        let mut element = list.add_partition(name, partition);
        element.set_metadata(self.text());
        if let Err(error) = element.set_offset(Offset::Offset(offset)) {
            tracing::warn!(%error, "an offset could not be added to a commit");
        }
    }

    /// The mark as the text of the metadata.
    pub(super) fn text(&self) -> String {
        let Self { epoch, handled, appended_ms } = self;
        format!("epoch={epoch};handled={handled};appended={appended_ms}")
    }

    /// Parses the metadata. `None` if it is not a mark, for example because a tool has set the offset.
    pub(in crate::pipeline) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(';');
        let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        Some(Self {
            epoch: value("epoch")?.parse().ok()?,
            handled: value("handled")?.parse().ok()?,
            appended_ms: value("appended")?.parse().ok()?,
        })
    }
}

/// Returns the offset up to which a partition is mapped, from the offset that its group committed and the metadata of the
/// commit.
#[must_use]
pub fn mapped_until(offset: i64, metadata: &str) -> i64 {
    Mark::parse(metadata).map_or(offset, |mark| mark.handled.max(offset))
}

/// Returns the topic epoch of a commit, from its metadata; `None` if that is not a mark.
#[must_use]
pub fn epoch_of(metadata: &str) -> Option<u16> {
    Mark::parse(metadata).map(|mark| mark.epoch)
}

/// What Kafka knows about the group's position in a partition.
#[derive(Debug, Clone, Copy)]
pub(in crate::pipeline) enum Known {
    /// Nothing: the group has never committed there.
    Nothing,
    /// What the group committed.
    Committed { offset: i64, mark: Option<Mark> },
    /// The copy of the mark. Kafka has no committed offset of the group. `found_ms` is the append time of the record before the
    /// mark's position, if that record exists.
    Copy { mark: Mark, found_ms: Option<i64> },
}

/// The start and end offsets of a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Log {
    pub(super) start: i64,
    /// The offset after the last record.
    pub(super) end: i64,
}

/// How to start reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StartPosition {
    /// The offset of the first record to fetch.
    pub(super) fetch_from: i64,
    /// The offset of the first record to use. The one before it, if it is fetched, is only compared with the mark.
    pub(super) use_from: i64,
    /// The offset of the first record to map. Those between `use_from` and this one are read only to find the open uploads.
    pub(super) map_from: i64,
    /// When the record before `map_from` was appended, if that record still exists.
    pub(super) appended_ms: Option<i64>,
    /// Whether the operator declared, by a higher epoch, that the topic may have been recreated.
    pub(super) may_be_recreated: bool,
}

/// Why a partition cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Records were deleted before they were mapped.
    RecordsDeleted {
        /// The offset of the next record to map.
        next: i64,
        /// The first offset of the log.
        start: i64,
    },
    /// The log is not the one that was mapped.
    Recreated {
        /// The offset of the next record to map.
        next: i64,
    },
}

impl StartPosition {
    /// At an offset, without a mark.
    pub(super) const fn at(start: i64) -> Self {
        Self { fetch_from: start, use_from: start, map_from: start, appended_ms: None, may_be_recreated: false }
    }
}

/// Decides where to start reading a partition. A group without a committed offset starts at the first record.
pub(super) fn start_position(known: Known, log: Log, epoch: u16) -> Result<StartPosition, Fault> {
    let (use_from, mark) = match known {
        Known::Nothing => return Ok(StartPosition::at(log.start)),
        Known::Committed { offset, mark } => (offset, mark),
        Known::Copy { mark, found_ms } => {
            let is_another = mark.handled > log.end || found_ms.is_some_and(|found_ms| found_ms != mark.appended_ms);
            // If the log is the same, an operator has deleted the offsets to have all of it mapped again.
            let is_right = !is_another || mark.epoch < epoch;
            return if is_right {
                Ok(StartPosition::at(log.start))
            } else {
                Err(Fault::Recreated { next: mark.handled })
            };
        }
    };
    let map_from = mark.map_or(use_from, |mark| mark.handled.max(use_from));
    let may_be_recreated = mark.is_some_and(|mark| mark.epoch < epoch);
    let fault = if map_from > log.end {
        Fault::Recreated { next: map_from }
    } else if use_from < log.start {
        Fault::RecordsDeleted { next: use_from, start: log.start }
    } else {
        let appended_ms = mark.filter(|mark| mark.handled > log.start).map(|mark| mark.appended_ms);
        let fetch_from = if appended_ms.is_some() { use_from.min(map_from - 1) } else { use_from };
        return Ok(StartPosition { fetch_from, use_from, map_from, appended_ms, may_be_recreated });
    };
    if may_be_recreated { Ok(StartPosition::at(log.start)) } else { Err(fault) }
}

impl Fault {
    /// Describes what is wrong with a partition, and what the operator can do.
    pub(super) fn advice(&self, topic: &str, partition: i32, group: &str) -> String {
        match self {
            Self::RecordsDeleted { next, start } => format!(
                "{topic} partition {partition} begins at offset {start}, but {next} is the next to be mapped: records were deleted \
                 before they were read; restore them, or stop all normalizers and set the offset of the group {group} to {start} to \
                 accept the loss; if the topic was recreated, raise TOPIC_EPOCH of the ingress and the normalizer"
            ),
            Self::Recreated { next } => format!(
                "{topic} partition {partition} is not the log that was mapped up to offset {next}: it was recreated or truncated; \
                 raise TOPIC_EPOCH of the ingress and the normalizer and restart both, or restore the topic"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Log = Log { start: 10, end: 50 };

    fn committed(offset: i64, epoch: u16, handled: i64) -> Known {
        Known::Committed { offset, mark: Some(Mark { epoch, handled, appended_ms: 77 }) }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = Mark { epoch: 3, handled: 42, appended_ms: 1_753_000_000_123 };
        assert_eq!(Mark::parse(&mark.text()), Some(mark));
        for other in ["", "x", "epoch=1", "epoch=1;handled=2;appended=", "handled=2;epoch=1;appended=3"] {
            assert_eq!(Mark::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_commit_says_up_to_where_a_partition_is_mapped_and_in_which_epoch() {
        let mark = Mark { epoch: 3, handled: 42, appended_ms: 77 };
        let mut list = TopicPartitionList::new();
        mark.add_to(&mut list, "raw", 1, 40);
        let element = list.find_partition("raw", 1).unwrap();
        assert_eq!((element.offset(), element.metadata()), (Offset::Offset(40), mark.text().as_str()));
        assert_eq!(mapped_until(40, element.metadata()), 42);
        assert_eq!(epoch_of(element.metadata()), Some(3));
        // An operator has set the offset.
        assert_eq!((mapped_until(40, ""), epoch_of("")), (40, None));
        assert_eq!(mapped_until(43, &mark.text()), 43);
    }

    #[test]
    fn a_new_group_begins_at_the_first_record() {
        assert_eq!(start_position(Known::Nothing, LOG, 0), Ok(StartPosition::at(10)));
    }

    #[test]
    fn the_record_before_the_position_is_compared() {
        let found = start_position(committed(20, 0, 20), LOG, 0).unwrap();
        assert_eq!((found.fetch_from, found.use_from, found.map_from, found.appended_ms), (19, 20, 20, Some(77)));
        // This also holds at the end of the log.
        assert_eq!(start_position(committed(50, 0, 50), LOG, 0).unwrap().fetch_from, 49);
        // The record has been deleted, or there is no mark with its append time.
        assert_eq!(start_position(committed(10, 0, 10), LOG, 0).unwrap().appended_ms, None);
        let bare = start_position(Known::Committed { offset: 20, mark: None }, LOG, 0).unwrap();
        assert_eq!((bare.fetch_from, bare.appended_ms), (20, None));
    }

    #[test]
    fn an_open_upload_is_read_again_and_later_records_are_not_mapped_again() {
        let found = start_position(committed(20, 0, 30), LOG, 0).unwrap();
        assert_eq!((found.fetch_from, found.use_from, found.map_from), (20, 20, 30));
    }

    #[test]
    fn a_changed_log_is_a_fault_until_the_epoch_is_raised() {
        for (fault, offset, handled) in [
            (Fault::Recreated { next: 51 }, 51, 51),
            (Fault::Recreated { next: 51 }, 20, 51),
            (Fault::RecordsDeleted { next: 9, start: 10 }, 9, 9),
        ] {
            assert_eq!(start_position(committed(offset, 1, handled), LOG, 1), Err(fault));
            assert_eq!(start_position(committed(offset, 1, handled), LOG, 2), Ok(StartPosition::at(10)));
        }
        assert!(start_position(committed(20, 1, 20), LOG, 2).unwrap().may_be_recreated);
        assert!(!start_position(committed(20, 2, 20), LOG, 2).unwrap().may_be_recreated);
        // An offset that a tool has set contains no epoch.
        let bare = Known::Committed { offset: 9, mark: None };
        assert_eq!(start_position(bare, LOG, 2), Err(Fault::RecordsDeleted { next: 9, start: 10 }));
    }

    #[test]
    fn a_topic_that_was_deleted_with_its_offsets_is_recognized_by_the_copied_mark() {
        let copy = |epoch, handled, found_ms| Known::Copy { mark: Mark { epoch, handled, appended_ms: 77 }, found_ms };
        // Only the offsets were deleted: everything is mapped again.
        assert_eq!(start_position(copy(1, 50, Some(77)), LOG, 1), Ok(StartPosition::at(10)));
        assert_eq!(start_position(copy(1, 5, None), LOG, 1), Ok(StartPosition::at(10)));
        for (handled, found_ms) in [(51, None), (50, Some(78))] {
            assert_eq!(start_position(copy(1, handled, found_ms), LOG, 1), Err(Fault::Recreated { next: handled }));
            assert_eq!(start_position(copy(1, handled, found_ms), LOG, 2), Ok(StartPosition::at(10)));
        }
    }

    #[test]
    fn the_advice_names_the_partition_and_the_remedy() {
        let advice = Fault::Recreated { next: 7 }.advice("raw.devices", 2, "g");
        assert!(advice.contains("raw.devices partition 2") && advice.contains("TOPIC_EPOCH"), "{advice}");
        let advice = Fault::RecordsDeleted { next: 7, start: 9 }.advice("raw.devices", 2, "g");
        assert!(advice.contains("begins at offset 9") && advice.contains("group g to 9"), "{advice}");
    }
}
