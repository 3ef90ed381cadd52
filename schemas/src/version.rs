//! The order of the versions of one reading.
//!
//! The source's own version decides where it gives one, then the first append of that content, then the raw
//! position, then the mapping version; never the order of arrival. Identical content is never a new version.

use std::cmp::{Ordering, Reverse};

use crate::{event::Reading, format::RawTopic};

/// Where and when a content was appended to its raw topic; the earliest append compares smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Appended {
    /// The broker's append time, microseconds since the epoch.
    pub at: i64,
    /// The raw topic.
    pub topic: RawTopic,
    /// Its incarnation.
    pub topic_epoch: i32,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The item.
    pub item: i32,
}

/// What the source itself says about its version; absent compares smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceVersion {
    /// A number (FHIR `meta.versionId`).
    pub number: Option<i64>,
    /// A time, microseconds since the epoch.
    pub updated_at: Option<i64>,
}

/// What is known of one content of a reading after any number of deliveries of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// The highest source version under which the content came.
    pub source: SourceVersion,
    /// The first append under that source version.
    pub first: Appended,
    /// The mapping version of the row that is kept for the content.
    pub mapping_version: i32,
    /// The append that the kept row was made of.
    pub row: Appended,
}

impl Version {
    /// The version of a reading that arrived once.
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
            mapping_version: reading.provenance.mapping_version,
            row,
        }
    }

    /// Joins what is known of the same content from two deliveries. Associative, commutative and idempotent, so any
    /// order of arrival ends in the same state.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match self.source.cmp(&other.source) {
            Ordering::Less => other,
            Ordering::Greater => self,
            Ordering::Equal => {
                let row = if self.row_rank() >= other.row_rank() { self } else { other };
                Self { first: self.first.min(other.first), ..row }
            }
        }
    }

    /// Whether the row of `self` is the one to keep when `self` and `other` are joined.
    #[must_use]
    pub fn keeps_row_over(&self, other: &Self) -> bool {
        match self.source.cmp(&other.source) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => self.row_rank() >= other.row_rank(),
        }
    }

    fn row_rank(&self) -> (i32, Reverse<Appended>) {
        (self.mapping_version, Reverse(self.row))
    }
}

/// Compares two different contents of one reading: the greater is the current one.
impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.source, self.first, self.mapping_version, self.row).cmp(&(
            other.source,
            other.first,
            other.mapping_version,
            other.row,
        ))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
