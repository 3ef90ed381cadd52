//! What a replay reads and stores in the database. `compared` reads what is stored about raw records, `job` stores a replay and its
//! progress, `change` stores what it found to be different, `summary` counts that, `defaults` knows which defaults replays have
//! applied, and `lock` excludes other processes.

mod change;
mod compared;
mod defaults;
mod job;
mod lock;
mod summary;

pub use change::{
    Change, ChangeKind, PagePosition, add_changes, changed_offsets, changes, changes_of, forget_arrived,
    forget_changes, missing, settle_missing,
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
pub use summary::{ChangeGroup, count_by_kind, groups};
