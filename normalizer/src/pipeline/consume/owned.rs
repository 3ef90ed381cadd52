//! The state of a partition that this consumer owns.

use super::resume::{Begin, Mark};

/// A partition that this consumer owns.
pub(super) struct Owned {
    /// The number of the assignment in which it was assigned.
    pub(super) assignment: u64,
    pub(super) begin: Begin,
    /// The offset of the next record to be read.
    pub(super) next: i64,
    pub(super) is_faulty: bool,
    /// Set after the operator declared, by a higher epoch, that the topic was recreated: records from this offset on were
    /// fetched before this was detected, and are ignored.
    pub(super) behind_anew: Option<i64>,
    /// The offset up to which records are handled, and the append time of the last of them.
    pub(super) done: Option<(i64, i64)>,
    /// The offset up to which the open uploads are known.
    pub(super) followed: i64,
    pub(super) committed: Option<(i64, Mark)>,
}

impl Owned {
    pub(super) fn new(assignment: u64, begin: Begin) -> Self {
        Self {
            assignment,
            begin,
            next: begin.floor,
            is_faulty: false,
            behind_anew: None,
            done: begin.appended_ms.map(|appended_ms| (begin.handled, appended_ms)),
            followed: begin.floor,
            committed: None,
        }
    }
}
