//! Bugs that the oracle of fault injection must find. Only builds with the feature `planted-bugs` have them.

use std::sync::LazyLock;

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// The ingress answers before the broker has acknowledged the record.
    EarlyAck,
    /// The normalizer commits before its events are acknowledged.
    EarlyCommit,
    /// The normalizer counts a reading that it does not produce.
    DroppedItem,
    /// The sink stores a reading under a second id.
    DuplicatedRow,
    /// The sink keeps the oldest version of a reading as the current one.
    WrongVersionOrder,
    /// The sink neither stores nor dead-letters a row that Postgres cannot store.
    SwallowedBadRow,
    /// The sink stops reading a partition, and waits for nothing.
    StalledPartition,
    /// The normalizer acknowledges an assignment of its group long after it was given.
    LateAssignment,
}

impl PlantedBug {
    /// All bugs.
    pub const ALL: [Self; 8] = [
        Self::EarlyAck,
        Self::EarlyCommit,
        Self::DroppedItem,
        Self::DuplicatedRow,
        Self::WrongVersionOrder,
        Self::SwallowedBadRow,
        Self::StalledPartition,
        Self::LateAssignment,
    ];

    /// The word in the variable `PLANTED_BUG`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EarlyAck => "early-ack",
            Self::EarlyCommit => "early-commit",
            Self::DroppedItem => "dropped-item",
            Self::DuplicatedRow => "duplicated-row",
            Self::WrongVersionOrder => "wrong-version-order",
            Self::SwallowedBadRow => "swallowed-bad-row",
            Self::StalledPartition => "stalled-partition",
            Self::LateAssignment => "late-assignment",
        }
    }

    /// Whether the variable `PLANTED_BUG` names this bug.
    #[must_use]
    pub fn is_planted(self) -> bool {
        static PLANTED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("PLANTED_BUG").ok());
        PLANTED.as_deref() == Some(self.as_str())
    }
}
