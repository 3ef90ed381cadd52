//! The state of a partition that this consumer owns.

use super::resume::{Mark, StartPosition};

/// A partition that this consumer owns.
pub(super) struct Owned {
    /// The number of the assignment in which it was assigned.
    pub(super) assignment: u64,
    pub(super) start: StartPosition,
    /// The offset of the next record to be read.
    pub(super) next: i64,
    pub(super) is_blocked: bool,
    /// Set after the operator declared, by a higher epoch, that the topic was recreated: records from this offset on were
    /// fetched before this was detected, and are ignored.
    pub(super) stale_from: Option<i64>,
    /// The offset up to which records are handled, and the append time of the last of them.
    pub(super) handled: Option<(i64, i64)>,
    /// The offset up to which the open uploads are known.
    pub(super) uploads_known_until: i64,
    pub(super) committed: Option<(i64, Mark)>,
}

impl Owned {
    pub(super) fn new(assignment: u64, start: StartPosition) -> Self {
        Self {
            assignment,
            start,
            next: start.use_from,
            is_blocked: false,
            stale_from: None,
            handled: start.appended_ms.map(|appended_ms| (start.map_from, appended_ms)),
            uploads_known_until: start.use_from,
            committed: None,
        }
    }
}
