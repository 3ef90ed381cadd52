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
    pub(super) fn put(&self, list: &mut TopicPartitionList, name: &str, partition: i32, offset: i64) {
        let mut one = list.add_partition(name, partition);
        one.set_metadata(self.text());
        if let Err(error) = one.set_offset(Offset::Offset(offset)) {
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
pub(super) struct Begin {
    /// The offset of the first record to fetch.
    pub(super) from: i64,
    /// The offset of the first record to use. The one before it, if it is fetched, is only compared with the mark.
    pub(super) floor: i64,
    /// The offset of the first record to map. Those between `floor` and this one are read only to find the open uploads.
    pub(super) handled: i64,
    /// When the record before `handled` was appended, if that record still exists.
    pub(super) appended_ms: Option<i64>,
    /// Whether the operator declared, by a higher epoch, that the topic may have been recreated.
    pub(super) may_be_anew: bool,
}

/// Why a partition cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Records were deleted before they were mapped.
    Gone {
        /// The offset of the next record to map.
        next: i64,
        /// The first offset of the log.
        start: i64,
    },
    /// The log is not the one that was mapped.
    Anew {
        /// The offset of the next record to map.
        next: i64,
    },
}

impl Begin {
    /// At an offset, without a mark.
    pub(super) const fn at(start: i64) -> Self {
        Self { from: start, floor: start, handled: start, appended_ms: None, may_be_anew: false }
    }
}

/// Decides where to start reading a partition. A group without a committed offset starts at the first record.
pub(super) fn begin(known: Known, log: Log, epoch: u16) -> Result<Begin, Fault> {
    let (floor, mark) = match known {
        Known::Nothing => return Ok(Begin::at(log.start)),
        Known::Committed { offset, mark } => (offset, mark),
        Known::Copy { mark, found_ms } => {
            let is_another = mark.handled > log.end || found_ms.is_some_and(|found_ms| found_ms != mark.appended_ms);
            // If the log is the same, an operator has deleted the offsets to have all of it mapped again.
            let is_right = !is_another || mark.epoch < epoch;
            return if is_right { Ok(Begin::at(log.start)) } else { Err(Fault::Anew { next: mark.handled }) };
        }
    };
    let handled = mark.map_or(floor, |mark| mark.handled.max(floor));
    let may_be_anew = mark.is_some_and(|mark| mark.epoch < epoch);
    let fault = if handled > log.end {
        Fault::Anew { next: handled }
    } else if floor < log.start {
        Fault::Gone { next: floor, start: log.start }
    } else {
        let appended_ms = mark.filter(|mark| mark.handled > log.start).map(|mark| mark.appended_ms);
        let from = if appended_ms.is_some() { floor.min(handled - 1) } else { floor };
        return Ok(Begin { from, floor, handled, appended_ms, may_be_anew });
    };
    if may_be_anew { Ok(Begin::at(log.start)) } else { Err(fault) }
}

impl Fault {
    /// Describes what is wrong with a partition, and what the operator can do.
    pub(super) fn advice(&self, topic: &str, partition: i32, group: &str) -> String {
        match self {
            Self::Gone { next, start } => format!(
                "{topic} partition {partition} begins at offset {start}, but {next} is the next to be mapped: records were deleted \
                 before they were read; restore them, or stop all normalizers and set the offset of the group {group} to {start} to \
                 accept the loss; if the topic was recreated, raise TOPIC_EPOCH of the ingress and the normalizer"
            ),
            Self::Anew { next } => format!(
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
    fn a_new_group_begins_at_the_first_record() {
        assert_eq!(begin(Known::Nothing, LOG, 0), Ok(Begin::at(10)));
    }

    #[test]
    fn the_record_before_the_position_is_looked_at() {
        let found = begin(committed(20, 0, 20), LOG, 0).unwrap();
        assert_eq!((found.from, found.floor, found.handled, found.appended_ms), (19, 20, 20, Some(77)));
        // This also holds at the end of the log.
        assert_eq!(begin(committed(50, 0, 50), LOG, 0).unwrap().from, 49);
        // The record has been deleted, or there is no mark with its append time.
        assert_eq!(begin(committed(10, 0, 10), LOG, 0).unwrap().appended_ms, None);
        let bare = begin(Known::Committed { offset: 20, mark: None }, LOG, 0).unwrap();
        assert_eq!((bare.from, bare.appended_ms), (20, None));
    }

    #[test]
    fn an_open_upload_is_followed_and_what_stands_behind_it_is_not_mapped_again() {
        let found = begin(committed(20, 0, 30), LOG, 0).unwrap();
        assert_eq!((found.from, found.floor, found.handled), (20, 20, 30));
    }

    #[test]
    fn another_log_is_a_fault_until_the_epoch_is_raised() {
        for (fault, offset, handled) in [
            (Fault::Anew { next: 51 }, 51, 51),
            (Fault::Anew { next: 51 }, 20, 51),
            (Fault::Gone { next: 9, start: 10 }, 9, 9),
        ] {
            assert_eq!(begin(committed(offset, 1, handled), LOG, 1), Err(fault));
            assert_eq!(begin(committed(offset, 1, handled), LOG, 2), Ok(Begin::at(10)));
        }
        assert!(begin(committed(20, 1, 20), LOG, 2).unwrap().may_be_anew);
        assert!(!begin(committed(20, 2, 20), LOG, 2).unwrap().may_be_anew);
        // An offset that a tool has set contains no epoch.
        let bare = Known::Committed { offset: 9, mark: None };
        assert_eq!(begin(bare, LOG, 2), Err(Fault::Gone { next: 9, start: 10 }));
    }

    #[test]
    fn a_topic_that_was_deleted_with_its_offsets_is_known_by_the_copy_of_the_mark() {
        let copy = |epoch, handled, found_ms| Known::Copy { mark: Mark { epoch, handled, appended_ms: 77 }, found_ms };
        // Only the offsets were deleted: everything is mapped again.
        assert_eq!(begin(copy(1, 50, Some(77)), LOG, 1), Ok(Begin::at(10)));
        assert_eq!(begin(copy(1, 5, None), LOG, 1), Ok(Begin::at(10)));
        for (handled, found_ms) in [(51, None), (50, Some(78))] {
            assert_eq!(begin(copy(1, handled, found_ms), LOG, 1), Err(Fault::Anew { next: handled }));
            assert_eq!(begin(copy(1, handled, found_ms), LOG, 2), Ok(Begin::at(10)));
        }
    }

    #[test]
    fn the_advice_names_the_place_and_the_way_out() {
        let said = Fault::Anew { next: 7 }.advice("raw.devices", 2, "g");
        assert!(said.contains("raw.devices partition 2") && said.contains("TOPIC_EPOCH"), "{said}");
        let said = Fault::Gone { next: 7, start: 9 }.advice("raw.devices", 2, "g");
        assert!(said.contains("begins at offset 9") && said.contains("group g to 9"), "{said}");
    }
}
