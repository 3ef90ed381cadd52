//! The order of the versions of one reading.
//!
//! The source's own version is compared first, then the time and the raw position of the first append of the content, then what
//! mapped it. The order of arrival is never used. Identical content is never a new version.
//!
//! A replay may withdraw a delivery: the item no longer yields the reading. A delivery counts as withdrawn if nothing mapped it later.

use std::cmp::{Ordering, Reverse};

use crate::{
    event::{Provenance, Reading},
    format::RawTopic,
};

/// The time and the position at which a content was appended to its raw topic. The earliest append compares smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Appended {
    /// The broker's append time, microseconds since the epoch.
    pub at: i64,
    /// The raw topic.
    pub topic: RawTopic,
    /// The epoch of the raw topic.
    pub topic_epoch: i32,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The item.
    pub item: i32,
}

/// The version that the source itself gives. An absent number or time compares smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceVersion {
    /// A number (FHIR `meta.versionId`).
    pub number: Option<i64>,
    /// A time, microseconds since the epoch.
    pub updated_at: Option<i64>,
}

/// What mapped a payload. The greater one is the later mapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappedBy {
    /// The version of the mapping.
    pub mapping: i32,
    /// The revision of the installation's own catalogue; 0 without one.
    pub catalogue: i32,
    /// The number of the replay that published the event; 0 for the normalizer.
    pub replay: i32,
}

impl MappedBy {
    /// Returns what mapped the payload of a reading.
    #[must_use]
    pub fn of(reading: &Reading) -> Self {
        let Provenance { mapping_version: mapping, catalogue_revision: catalogue, .. } = reading.provenance;
        Self { mapping, catalogue, replay: reading.replay.unwrap_or(0) }
    }

    /// Returns the version of the mapping and the revision of the catalogue, which decide what a payload yields.
    #[must_use]
    pub const fn mapping_and_catalogue(&self) -> (i32, i32) {
        (self.mapping, self.catalogue)
    }
}

/// The version of one content of a reading, computed from all deliveries of that content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// The highest source version with which the content was delivered.
    pub source: SourceVersion,
    /// The first append with that source version.
    pub first: Appended,
    /// What mapped the row that is stored for the content.
    pub mapped_by: MappedBy,
    /// The append from which the stored row was made.
    pub row: Appended,
    /// Whether all deliveries of the content are withdrawn.
    pub withdrawn: bool,
}

impl Version {
    /// Returns the version of a reading that was delivered once.
    #[must_use]
    pub fn of(reading: &Reading) -> Self {
        let row = Appended {
            at: reading.received_at,
            topic: reading.raw_topic(),
            topic_epoch: reading.provenance.topic_epoch,
            partition: reading.provenance.partition,
            offset: reading.provenance.offset,
            item: reading.provenance.item,
        };
        Self {
            source: SourceVersion { number: reading.source_version, updated_at: reading.source_updated_at },
            first: row,
            mapped_by: MappedBy::of(reading),
            row,
            withdrawn: reading.withdrawn,
        }
    }

    /// Combines the versions of two deliveries of the same content, of which no later mapping withdrew the one or the other. The
    /// operation is associative, commutative and idempotent, so any order of arrival leads to the same state.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match self.source_rank().cmp(&other.source_rank()) {
            Ordering::Less => other,
            Ordering::Greater => self,
            Ordering::Equal => {
                let row = if self.row_rank() >= other.row_rank() { self } else { other };
                Self { first: self.first.min(other.first), ..row }
            }
        }
    }

    /// Returns whether the row of `self` is stored when `self` and `other` are joined.
    #[must_use]
    pub fn keeps_row_over(&self, other: &Self) -> bool {
        match self.source_rank().cmp(&other.source_rank()) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => self.row_rank() >= other.row_rank(),
        }
    }

    fn source_rank(&self) -> (bool, SourceVersion) {
        (!self.withdrawn, self.source)
    }

    fn row_rank(&self) -> (MappedBy, Reverse<Appended>) {
        (self.mapped_by, Reverse(self.row))
    }
}

/// Compares the versions of two different contents of one reading. The greater one is current.
impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let order =
            |version: &Self| (!version.withdrawn, version.source, version.first, version.mapped_by, version.row);
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
