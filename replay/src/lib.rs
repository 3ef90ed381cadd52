//! Replay: maps the records of raw topics again with the current mapping, and compares the result with the readings and refusals in
//! the database. It changes nothing.
//!
//! [`run`] reads each partition with a consumer of its own, which joins no group and commits nothing, and compares batch by batch.
//! Only records whose outcome is stored are compared, because the others are still on their way through the stages. A reading of the
//! database that the mapping no longer produces counts as withdrawn only if no other raw record yields its id; that is checked in a
//! second pass over all records of the provider.

mod batch;
mod compare;
mod compare_batch;
mod diff;
mod error;
mod html;
mod log;
mod read;
mod run;
mod scope;
mod state;

pub use compare::{Comparison, Field, compare};
pub use diff::{Change, ChangeKind, Diff, Group, Refusals};
pub use error::ReplayError;
pub use html::page;
pub use run::run;
pub use scope::Scope;
pub use state::{Progress, ReplayConfig};
