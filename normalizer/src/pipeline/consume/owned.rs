//! What is known of a partition that is this consumer's.

use super::resume::{Begin, Mark};

/// A partition that is this consumer's.
pub(super) struct Owned {
    /// Which assignment it came with.
    pub(super) assignment: u64,
    pub(super) begin: Begin,
    /// The next record to be read.
    pub(super) next: i64,
    pub(super) is_faulty: bool,
    /// Where the operator said that the topic was made anew: what still comes from behind this offset was fetched before that was
    /// found.
    pub(super) behind_anew: Option<i64>,
    /// Up to where records are handled, and when the last of them was appended.
    pub(super) done: Option<(i64, i64)>,
    /// Up to where it is known which uploads are open.
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
