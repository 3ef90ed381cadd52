//! What a replay counts.

use std::{collections::BTreeMap, ops::Range};

use normalizer::Rejection;
use schemas::receipt::RawPosition;
use serde::{Deserialize, Serialize};
use store::replay::{RawRange, StoredRefusal};

/// Items that are refused or accepted now and were not before, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// The number of items that were refused and still are.
    pub unchanged: u64,
    /// Items that the mapping refuses now, by the reason.
    pub newly_refused: BTreeMap<String, u64>,
    /// Items that were refused and that the mapping accepts now, by the reason before.
    pub newly_accepted: BTreeMap<String, u64>,
}

/// Raw records that no longer exist, because Kafka deleted them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The raw topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub first: i64,
    /// The offset after the last one.
    pub end: i64,
    /// Whether the scope has a condition on the time and Kafka no longer knows the time of these records.
    #[serde(default)]
    pub is_time_unknown: bool,
}

/// What a replay counts in the records that it reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// The number of raw records that were compared.
    pub records: u64,
    /// The number of raw records that the scope covers and that no longer exist.
    pub deleted_records: u64,
    /// Which raw records no longer exist.
    pub deleted: Vec<Deleted>,
    /// The number of raw records that the stages had not finished. They were not compared.
    pub unfinished_records: u64,
    /// The number of readings that were not stored when they were compared, and were soon after.
    pub in_flight: u64,
    /// The number of items whose reading or command is stored with the same fields.
    pub unchanged: u64,
    /// The number of items of which a later version is stored.
    pub superseded: u64,
    /// Refused items.
    pub refusals: Refusals,
}

impl Counts {
    /// Whether no raw record, stored or deleted, is in the scope.
    #[must_use]
    pub const fn is_without_records(&self) -> bool {
        self.records == 0 && self.unfinished_records == 0 && self.deleted_records == 0
    }

    /// Adds other counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.deleted_records += other.deleted_records;
        self.deleted.extend(other.deleted.iter().cloned());
        self.unfinished_records += other.unfinished_records;
        self.in_flight += other.in_flight;
        self.unchanged += other.unchanged;
        self.superseded += other.superseded;
        let Refusals { unchanged, newly_refused, newly_accepted } = &other.refusals;
        self.refusals.unchanged += unchanged;
        for (sums, counts) in
            [(&mut self.refusals.newly_refused, newly_refused), (&mut self.refusals.newly_accepted, newly_accepted)]
        {
            for (reason, count) in counts {
                *sums.entry(reason.clone()).or_default() += count;
            }
        }
    }

    /// Adds records of a partition that no longer exist.
    pub(crate) fn add_deleted(&mut self, of: &RawRange, offsets: Range<i64>, is_time_unknown: bool) {
        if !offsets.is_empty() {
            self.deleted_records += u64::try_from(offsets.end - offsets.start).unwrap_or(0);
            let (topic, partition) = (of.topic.as_str().to_owned(), of.partition);
            self.deleted.push(Deleted { topic, partition, first: offsets.start, end: offsets.end, is_time_unknown });
        }
    }

    /// Whether the record at a position no longer exists.
    pub(crate) fn has_deleted(&self, raw: &RawPosition) -> bool {
        self.deleted.iter().any(|deleted| {
            (deleted.topic.as_str(), deleted.partition) == (raw.topic.as_str(), raw.partition)
                && (deleted.first..deleted.end).contains(&raw.offset)
        })
    }

    /// Counts the refused items of a record. Returns whether other items are refused than before.
    pub(crate) fn compare_refusals(&mut self, produced: &[Rejection], stored: &[StoredRefusal]) -> bool {
        let mut before: BTreeMap<i32, &str> = BTreeMap::new();
        for refusal in stored.iter().filter(|refusal| refusal.stage == "normalizer") {
            let last = refusal.item.saturating_add(refusal.item_count.max(1));
            before.extend((refusal.item..last).map(|item| (item, refusal.reason.as_str())));
        }
        let refusals = &mut self.refusals;
        let mut is_different = false;
        for rejection in produced {
            let first = rejection.item.map_or(-1, |item| i32::try_from(item).unwrap_or(i32::MAX));
            let count = i32::try_from(rejection.item_count).unwrap_or(i32::MAX).max(1);
            for item in first..first.saturating_add(count) {
                if let Some(reason) = before.remove(&item) {
                    refusals.unchanged += 1;
                    is_different |= reason != rejection.reason.as_str();
                } else {
                    *refusals.newly_refused.entry(rejection.reason.as_str().to_owned()).or_default() += 1;
                    is_different = true;
                }
            }
        }
        for reason in before.into_values() {
            *refusals.newly_accepted.entry(reason.to_owned()).or_default() += 1;
            is_different = true;
        }
        is_different
    }

    /// Returns the counts as JSON, for the database.
    pub(crate) fn stored(&self) -> String {
        // Numbers and texts always have a JSON form.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Reads stored counts.
    pub(crate) fn from_stored(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}
