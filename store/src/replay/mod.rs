//! What a replay reads and stores in the database. `compared` reads what is stored about raw records, `job` stores a replay and its
//! progress, and `change` stores what it found to be different.

mod change;
mod compared;
mod defaults;
mod job;
mod lock;

pub use change::{
    Change, ChangeGroup, ChangeKind, PagePosition, add_changes, changed_offsets, changes, changes_of, count_by_kind,
    forget_arrived, forget_changes, groups, missing, settle_missing,
};
pub use compared::{
    Delivery, Holding, RawRange, StoredCommand, StoredRefusal, commands, deliveries, excess_commands, holdings_of,
    refusals, stored_documents, stored_until,
};
pub use defaults::{DefaultsRun, applied_defaults};
pub use job::{
    Job, JobKind, JobRange, JobState, NewJob, Pass, add_ranges, advance, create, job, jobs, ranges, set_state,
    unfinished_redrives,
};
pub use lock::{ReplayLock, lock};
