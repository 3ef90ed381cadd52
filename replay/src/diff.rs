//! The result of a comparison: what a replay would change.

use std::collections::{BTreeMap, BTreeSet};

use schemas::event::Reading;
use serde::Serialize;
use uuid::Uuid;

use crate::compare::Field;

/// How a reading differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// The mapping produces it, and it is not stored.
    Added,
    /// The mapping produces it with other fields.
    Changed,
    /// It is stored, and the mapping produces it from no raw record.
    Withdrawn,
}

impl ChangeKind {
    /// Returns the word for it in a report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A reading that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The reading.
    pub reading_id: Uuid,
    /// How it differs.
    pub kind: ChangeKind,
    /// The fields that differ, if it is changed.
    pub fields: Vec<Field>,
    /// The receipt of the payload that the mapping reads it from; of a withdrawn reading, that of the stored one.
    pub receipt: String,
}

/// Readings with the same difference, code and device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How they differ.
    pub kind: ChangeKind,
    /// The code system of the new code; of a withdrawn reading, of the stored one.
    pub code_system: String,
    /// The code.
    pub code: String,
    /// The display text of the code.
    pub display: Option<String>,
    /// The id of the device.
    pub device: Option<String>,
    /// The number of readings.
    pub readings: u64,
    /// The number of readings in which each field differs.
    pub fields: BTreeMap<Field, u64>,
    /// The receipt of the first of them.
    pub receipt: String,
}

/// Items that are refused or accepted now and were not before, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// The number of items that were refused and still are.
    pub unchanged: u64,
    /// Items that the mapping refuses now, by the reason.
    pub newly_refused: BTreeMap<String, u64>,
    /// Items that were refused and that the mapping accepts now, by the reason before.
    pub newly_accepted: BTreeMap<String, u64>,
}

/// What a replay would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The version of the current mapping.
    pub mapping_version: i32,
    /// The number of raw records that were compared.
    pub records: u64,
    /// The number of raw records that the scope covers and that no longer exist.
    pub deleted_records: u64,
    /// The number of raw records that the stages have not finished yet. They were not compared.
    pub unfinished_records: u64,
    /// The number of items whose reading is stored with the same fields.
    pub unchanged: u64,
    /// The number of items of which a later version is stored.
    pub superseded: u64,
    /// The number of readings that were not stored when they were compared, and are now.
    pub in_flight: u64,
    /// The differences, by kind, code and device.
    pub groups: Vec<Group>,
    /// Refused items.
    pub refusals: Refusals,
    /// Each reading that differs.
    pub changes: Vec<Change>,
}

impl Diff {
    /// Returns whether a replay would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.refusals.newly_refused.is_empty() && self.refusals.newly_accepted.is_empty()
    }

    /// Returns the number of readings that differ in one way.
    #[must_use]
    pub fn count(&self, kind: ChangeKind) -> usize {
        self.changes.iter().filter(|change| change.kind == kind).count()
    }
}

/// The kind of difference, the code system, the code and the device.
type GroupKey = (ChangeKind, String, String, Option<String>);

fn group_key(kind: ChangeKind, reading: &Reading) -> GroupKey {
    let device = reading.device.as_ref().map(|device| device.id.as_str().to_owned());
    (kind, reading.code.system.to_string(), reading.code.code.to_string(), device)
}

/// Collects differences. A reading that several items produce counts once.
#[derive(Default)]
pub(crate) struct Collector {
    diff: Diff,
    groups: BTreeMap<GroupKey, Group>,
    seen: BTreeSet<Uuid>,
}

impl Collector {
    pub(crate) fn counts(&mut self) -> &mut Diff {
        &mut self.diff
    }

    /// Adds a difference of a reading.
    pub(crate) fn add(&mut self, kind: ChangeKind, fields: Vec<Field>, reading: &Reading, receipt: String) {
        if !self.seen.insert(reading.reading_id) {
            return;
        }
        let key = group_key(kind, reading);
        let (_, code_system, code, device) = key.clone();
        let group = self.groups.entry(key).or_insert_with(|| Group {
            kind,
            code_system,
            code,
            display: reading.code.display.as_ref().map(ToString::to_string),
            device,
            readings: 0,
            fields: BTreeMap::new(),
            receipt: receipt.clone(),
        });
        group.readings += 1;
        for field in &fields {
            *group.fields.entry(*field).or_default() += 1;
        }
        self.diff.changes.push(Change { reading_id: reading.reading_id, kind, fields, receipt });
    }

    /// Returns the added readings.
    pub(crate) fn added(&self) -> Vec<Uuid> {
        let added = self.diff.changes.iter().filter(|change| change.kind == ChangeKind::Added);
        added.map(|change| change.reading_id).collect()
    }

    /// Removes an added reading, which has been stored since it was compared.
    pub(crate) fn arrived(&mut self, reading: &Reading) {
        let key = group_key(ChangeKind::Added, reading);
        self.diff.changes.retain(|change| change.reading_id != reading.reading_id);
        self.diff.in_flight += 1;
        if let Some(group) = self.groups.get_mut(&key) {
            group.readings = group.readings.saturating_sub(1);
            if group.readings == 0 {
                self.groups.remove(&key);
            }
        }
    }

    /// Returns the result. The order of partitions does not change it.
    pub(crate) fn finish(mut self) -> Diff {
        self.diff.changes.sort_unstable_by_key(|change| change.reading_id);
        self.diff.groups = self.groups.into_values().collect();
        self.diff
    }
}
