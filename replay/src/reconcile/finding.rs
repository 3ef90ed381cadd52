//! What a reconciliation finds.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::balance::Counts;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A raw record that the normalizers have finished has no outcome.
    MissingOutcome,
    /// A raw record was deleted from Kafka before it had an outcome.
    DeletedUnread,
    /// An item has no reading: neither a row, nor a version, nor a duplicate of a stored reading, nor a dead letter of a sink.
    MissingReading,
    /// A stored reading refers to a document that is not stored.
    MissingDocument,
    /// A refused item has no dead letter.
    MissingDeadLetter,
    /// A device command is not stored.
    MissingCommand,
    /// An item is stored more often than once.
    StoredTwice,
    /// An item is stored that the outcome does not promise.
    NotPromised,
    /// Rows name a raw record that Kafka does not have.
    NoRawRecord,
}

impl FindingKind {
    /// Returns the word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingOutcome => "missing-outcome",
            Self::DeletedUnread => "deleted-unread",
            Self::MissingReading => "missing-reading",
            Self::MissingDocument => "missing-document",
            Self::MissingDeadLetter => "missing-dead-letter",
            Self::MissingCommand => "missing-command",
            Self::StoredTwice => "stored-twice",
            Self::NotPromised => "not-promised",
            Self::NoRawRecord => "no-raw-record",
        }
    }
}

/// Something that is missing, or stored more often than it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The raw topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: i32,
    /// The offset of the first raw record.
    pub first_offset: i64,
    /// The offset of the last raw record.
    pub last_offset: i64,
    /// The receipt of the first raw record, or of its item.
    pub receipt: String,
    /// The item; -1 for the whole payload. `None` if it is not known which of the items it is.
    pub item: Option<i32>,
    /// The reading.
    pub reading_id: Option<Uuid>,
    /// The number of items, of raw records or of rows.
    pub count: u64,
    /// The table, if rows have no raw record.
    pub stored_in: Option<String>,
}

/// Outcomes of another topic epoch. Kafka no longer has their raw records, so they are not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EarlierEpoch {
    /// The raw topic.
    pub topic: &'static str,
    /// The topic epoch.
    pub topic_epoch: i32,
    /// The number of raw records with an outcome.
    pub records: i64,
}

/// The result of a reconciliation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Whether nothing was found.
    pub balanced: bool,
    /// The numbers of each raw topic.
    pub topics: BTreeMap<&'static str, Counts>,
    /// The number of items, raw records or rows of each kind of finding, also of those that are not listed.
    pub found: BTreeMap<FindingKind, u64>,
    /// What was found, at most [`Reconciliation::LISTED_MAX`], by position.
    pub findings: Vec<Finding>,
    /// What was not compared because it is of another topic epoch.
    pub other_epochs: Vec<EarlierEpoch>,
}

impl Reconciliation {
    /// The maximum number of findings that are listed.
    pub const LISTED_MAX: usize = 10_000;
}
