//! Compares the raw records of a range with their outcomes and with what is stored of them.

use std::{collections::BTreeMap, ops::Range};

use schemas::format::RawTopic;
use serde::Serialize;
use store::reconcile::{StoredRecord, StoredRun, WithoutDocument};

/// What Kafka has at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtOffset {
    /// Nothing: the marker of a transaction.
    Nothing,
    /// What Kafka has deleted since the comparison began.
    Deleted,
    /// A record without a value, which has no outcome.
    NoValue,
    /// A record that must have an outcome.
    Record,
}

/// Consecutive offsets of a partition.
pub(super) struct Chunk {
    pub(super) topic: RawTopic,
    /// The first offset.
    pub(super) first: i64,
    /// What Kafka has from there on.
    pub(super) offsets: Vec<AtOffset>,
    pub(super) finished: Finished,
}

/// How far the normalizers have come in a partition. They commit after Kafka has acknowledged all events of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Finished {
    /// All records before this offset have outcomes.
    pub(super) committed: i64,
    /// All records before this offset are handled, except those of open uploads.
    pub(super) handled: i64,
}

impl Chunk {
    pub(super) fn end(&self) -> i64 {
        self.first + i64::try_from(self.offsets.len()).unwrap_or(i64::MAX)
    }

    /// Notes what Kafka has at an offset of the chunk.
    pub(super) fn set(&mut self, offset: i64, at: AtOffset) {
        if let Some(place) = usize::try_from(offset - self.first).ok().and_then(|at| self.offsets.get_mut(at)) {
            *place = at;
        }
    }
}

/// The numbers of a reconciliation. The first group counts raw records, the second one what their outcomes promise, and the third one
/// where the items are. Records in flight are in the first group only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Raw records whose outcome was compared.
    pub records: u64,
    /// Raw records that the stages have not finished.
    pub in_flight: u64,
    /// Raw records without a value, which have no outcome.
    pub without_value: u64,
    /// Offsets at the start of a log whose records no longer exist.
    pub deleted: u64,
    /// Readings that the outcomes promise.
    pub promised_readings: i64,
    /// Refused items that the outcomes promise.
    pub promised_rejections: i64,
    /// Device commands that the outcomes promise.
    pub promised_commands: i64,
    /// Items with the current row of a reading.
    pub stored: i64,
    /// Items with a version that another one superseded.
    pub superseded: i64,
    /// Items whose reading the row of another item represents.
    pub duplicates: i64,
    /// Items, or device commands, that a sink refused.
    pub refused_by_sink: i64,
    /// Items that the normalizer refused.
    pub refused: i64,
    /// Device commands with a verdict.
    pub commands: i64,
}

impl Counts {
    /// Adds the numbers of another part.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.in_flight += other.in_flight;
        self.without_value += other.without_value;
        self.deleted += other.deleted;
        self.promised_readings += other.promised_readings;
        self.promised_rejections += other.promised_rejections;
        self.promised_commands += other.promised_commands;
        self.stored += other.stored;
        self.superseded += other.superseded;
        self.duplicates += other.duplicates;
        self.refused_by_sink += other.refused_by_sink;
        self.refused += other.refused;
        self.commands += other.commands;
    }

    fn add_record(&mut self, run: &StoredRun, stored: &StoredRecord) {
        self.records += 1;
        self.promised_readings += run.readings;
        self.promised_rejections += run.rejections;
        self.promised_commands += run.commands;
        self.stored += stored.current;
        self.superseded += stored.superseded;
        self.duplicates += stored.duplicates;
        self.refused_by_sink += stored.refused_by_sink;
        self.refused += stored.refused + stored.redriven;
        self.commands += stored.commands;
    }
}

/// What is stored of a raw record, less what its outcome promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) readings: i64,
    pub(super) rejections: i64,
    pub(super) commands: i64,
    /// By how many an item is stored more often than once.
    pub(super) excess: i64,
}

impl Difference {
    pub(super) fn of(topic: RawTopic, run: &StoredRun, stored: &StoredRecord) -> Self {
        let delivered = stored.current + stored.superseded + stored.duplicates;
        let (readings, commands) = match topic {
            // A command that a sink refused may be stored since.
            RawTopic::Devices if stored.commands == 0 => (delivered, stored.refused_by_sink),
            RawTopic::Devices => (delivered, stored.commands),
            RawTopic::Medisante | RawTopic::HealthKit | RawTopic::Uploads => {
                (delivered + stored.refused_by_sink, stored.commands)
            }
        };
        // An item that was sent again may be refused by the newest outcome or not.
        let refused = run.rejections.clamp(stored.refused, stored.refused + stored.redriven);
        Self {
            readings: readings - run.readings,
            rejections: refused - run.rejections,
            commands: commands - run.commands,
            excess: stored.excess,
        }
    }

    pub(super) const fn is_none(&self) -> bool {
        self.readings == 0 && self.rejections == 0 && self.commands == 0 && self.excess == 0
    }

    /// The number of items that are missing or that are stored more often than promised.
    pub(super) fn items(&self) -> u64 {
        [self.readings, self.rejections, self.commands, self.excess].iter().map(|count| count.unsigned_abs()).sum()
    }
}

/// A raw record of which something else is stored than its outcome promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unbalanced {
    pub(super) offset: i64,
    pub(super) run: StoredRun,
    pub(super) difference: Difference,
}

/// The result of comparing a chunk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) counts: Counts,
    pub(super) unbalanced: Vec<Unbalanced>,
    /// Finished raw records without an outcome.
    pub(super) without_outcome: Vec<Range<i64>>,
    /// Raw records that Kafka has deleted since the comparison began, without an outcome.
    pub(super) deleted_unread: Vec<Range<i64>>,
    /// Stored readings of finished raw records without their document. Only `reconcile` looks for them.
    pub(super) without_document: Vec<WithoutDocument>,
    /// Outcomes without a raw record.
    pub(super) outcomes_without_record: Vec<Range<i64>>,
    /// Offsets without a raw record of which something is stored.
    pub(super) rows_without_record: Vec<Range<i64>>,
}

impl Balance {
    pub(super) fn is_even(&self) -> bool {
        self.unbalanced.is_empty()
            && self.without_outcome.is_empty()
            && self.deleted_unread.is_empty()
            && self.without_document.is_empty()
            && self.outcomes_without_record.is_empty()
            && self.rows_without_record.is_empty()
    }

    /// The number of items and raw records that are not accounted for.
    pub(super) fn unaccounted(&self) -> u64 {
        let ranges =
            [&self.without_outcome, &self.deleted_unread, &self.outcomes_without_record, &self.rows_without_record];
        let offsets = ranges.into_iter().flatten().map(|range| range.end.abs_diff(range.start));
        offsets.chain(self.unbalanced.iter().map(|record| record.difference.items())).sum()
    }
}

/// Compares a chunk. `runs` and `stored` are in the order of offsets.
pub(super) fn compare(chunk: &Chunk, runs: &[StoredRun], stored: &[StoredRecord]) -> Balance {
    let mut balance = Balance::default();
    let stored: BTreeMap<i64, &StoredRecord> = stored.iter().map(|record| (record.offset, record)).collect();
    let mut runs = runs.iter().peekable();
    for (offset, at) in (chunk.first..).zip(&chunk.offsets) {
        while runs.next_if(|run| run.last < offset).is_some() {}
        let run = runs.peek().filter(|run| run.first <= offset).copied();
        let found = stored.get(&offset).copied();
        match (at, run) {
            (AtOffset::Record, Some(run)) => add_record(&mut balance, chunk, run, found, offset),
            (AtOffset::Record, None) if offset >= chunk.finished.committed => balance.counts.in_flight += 1,
            (AtOffset::Record, None) => extend(&mut balance.without_outcome, offset),
            (AtOffset::Deleted, run) => {
                balance.counts.deleted += 1;
                if run.is_none() {
                    extend(&mut balance.deleted_unread, offset);
                }
            }
            (AtOffset::NoValue | AtOffset::Nothing, run) => {
                balance.counts.without_value += u64::from(*at == AtOffset::NoValue);
                if run.is_some() {
                    extend(&mut balance.outcomes_without_record, offset);
                }
                if found.is_some() {
                    extend(&mut balance.rows_without_record, offset);
                }
            }
        }
    }
    balance
}

fn add_record(balance: &mut Balance, chunk: &Chunk, run: &StoredRun, found: Option<&StoredRecord>, offset: i64) {
    let found = found.copied().unwrap_or_default();
    let difference = Difference::of(chunk.topic, run, &found);
    // The events of a record arrive in any order.
    if !difference.is_none() && offset >= chunk.finished.handled {
        balance.counts.in_flight += 1;
        return;
    }
    balance.counts.add_record(run, &found);
    if !difference.is_none() {
        balance.unbalanced.push(Unbalanced { offset, run: *run, difference });
    }
}

/// Adds an offset to ranges of consecutive offsets.
fn extend(ranges: &mut Vec<Range<i64>>, offset: i64) {
    match ranges.last_mut() {
        Some(last) if last.end == offset => last.end += 1,
        Some(_) | None => ranges.push(offset..offset + 1),
    }
}

#[cfg(test)]
mod tests {
    use schemas::version::MappedBy;

    use super::{AtOffset::*, *};

    fn run(first: i64, last: i64, readings: i64, rejections: i64) -> StoredRun {
        StoredRun { first, last, readings, commands: 0, rejections, mapped_by: MappedBy::default() }
    }

    fn stored(offset: i64, current: i64, refused: i64) -> StoredRecord {
        StoredRecord { offset, current, refused, ..StoredRecord::default() }
    }

    fn chunk(offsets: &[AtOffset], finished: i64) -> Chunk {
        let finished = Finished { committed: finished, handled: finished };
        Chunk { topic: RawTopic::Medisante, first: 10, offsets: offsets.to_vec(), finished }
    }

    #[test]
    fn each_item_has_one_place() {
        let records = [
            stored(10, 2, 1),
            StoredRecord { superseded: 1, duplicates: 1, refused: 1, ..stored(11, 0, 0) },
            StoredRecord { refused_by_sink: 1, current: 1, refused: 1, ..stored(12, 0, 0) },
        ];
        let balance = compare(&chunk(&[Record; 3], 13), &[run(0, 12, 2, 1)], &records);
        assert!(balance.is_even(), "{balance:?}");
        let Counts { records, promised_readings, promised_rejections, .. } = balance.counts;
        assert_eq!((records, promised_readings, promised_rejections), (3, 6, 3));
        let counts = balance.counts;
        assert_eq!(
            (counts.stored, counts.superseded, counts.duplicates, counts.refused_by_sink, counts.refused),
            (3, 1, 1, 1, 3)
        );
    }

    #[test]
    fn what_is_missing_and_what_is_stored_twice_are_differences() {
        for (found, items) in [
            (stored(10, 1, 1), 1),
            (stored(10, 2, 0), 1),
            (stored(10, 3, 1), 1),
            (stored(10, 2, 2), 1),
            (StoredRecord { excess: 1, ..stored(10, 2, 1) }, 1),
            (stored(10, 0, 0), 3),
        ] {
            let balance = compare(&chunk(&[Record], 11), &[run(10, 10, 2, 1)], &[found]);
            assert_eq!((balance.unbalanced.len(), balance.unaccounted()), (1, items), "{found:?}");
            // Not finished: the rest of the events may be on their way.
            let balance = compare(&chunk(&[Record], 10), &[run(10, 10, 2, 1)], &[found]);
            assert!(balance.is_even() && balance.counts == Counts { in_flight: 1, ..Counts::default() });
        }
    }

    #[test]
    fn an_item_that_was_sent_again_may_be_refused_or_not() {
        let found = StoredRecord { redriven: 2, ..stored(10, 1, 1) };
        for (rejections, is_even) in [(0, false), (1, true), (2, true), (3, true), (4, false)] {
            let balance = compare(&chunk(&[Record], 11), &[run(10, 10, 1, rejections)], &[found]);
            assert_eq!(balance.is_even(), is_even, "{rejections}");
        }
    }

    #[test]
    fn a_command_has_a_verdict_or_a_dead_letter() {
        let commands = Chunk { topic: RawTopic::Devices, ..chunk(&[Record; 3], 13) };
        let run = StoredRun { commands: 1, ..run(10, 12, 0, 0) };
        let found =
            [StoredRecord { commands: 1, ..stored(10, 0, 0) }, StoredRecord { refused_by_sink: 1, ..stored(11, 0, 0) }];
        let balance = compare(&commands, &[run], &found);
        let missing = Difference { commands: -1, ..Difference::default() };
        assert_eq!(balance.unbalanced, [Unbalanced { offset: 12, run, difference: missing }]);
    }

    #[test]
    fn outcomes_and_raw_records_belong_together() {
        let offsets = [Record, Record, NoValue, Nothing, Record, Record];
        let balance = compare(&chunk(&offsets, 15), &[run(10, 10, 0, 0)], &[]);
        assert_eq!((balance.without_outcome, balance.counts.in_flight), (vec![11..12, 14..15], 1));
        assert_eq!((balance.counts.records, balance.counts.without_value), (1, 1));
        let balance = compare(&chunk(&offsets, 16), &[run(10, 20, 0, 0)], &[stored(13, 1, 0)]);
        let ranges = |ranges: &[Range<i64>]| ranges.iter().map(|range| (range.start, range.end)).collect::<Vec<_>>();
        assert_eq!(ranges(&balance.outcomes_without_record), [(12, 14)]);
        assert_eq!(ranges(&balance.rows_without_record), [(13, 14)]);
        assert!(balance.without_outcome.is_empty());
    }

    #[test]
    fn what_was_deleted_meanwhile_is_lost_only_without_an_outcome() {
        let balance = compare(&chunk(&[Deleted, Deleted, Record], 13), &[run(10, 10, 1, 0), run(12, 12, 0, 0)], &[]);
        assert_eq!((balance.counts.deleted, balance.counts.records), (2, 1));
        let unread: Vec<_> = balance.deleted_unread.iter().map(|range| (range.start, range.end)).collect();
        assert_eq!((unread, balance.unaccounted()), (vec![(11, 12)], 1));
        assert!(!balance.is_even() && balance.without_outcome.is_empty());
    }

    #[test]
    fn an_open_upload_holds_back_only_its_own_records() {
        let open = Chunk { finished: Finished { committed: 10, handled: 13 }, ..chunk(&[Record; 3], 0) };
        let balance = compare(&open, &[run(11, 12, 1, 0)], &[stored(11, 1, 0)]);
        assert_eq!((balance.counts.in_flight, balance.counts.records), (1, 2));
        assert_eq!(balance.unbalanced.iter().map(|record| record.offset).collect::<Vec<_>>(), [12]);
    }
}
