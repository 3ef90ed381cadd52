//! Replay: maps the records of raw topics again with the current mapping, compares the result with the database, and applies the
//! differences when an operator wants it.
//!
//! [`start`] stores which records are covered, and [`compare`] reads each partition with a consumer of its own, which joins no group and
//! commits nothing. Only records whose outcome is stored are compared, because the others are still on their way through the stages. A
//! reading of the database that the mapping no longer produces counts as withdrawn only if no other raw record yields its id; that is
//! checked in a second pass over all records of the provider. [`apply`] publishes the differences as events, which the sinks order like
//! all others. What was found and how far it is applied is in the database.

mod apply;
mod batch;
mod compare;
mod compare_batch;
mod counts;
mod defaults;
mod diff;
mod error;
mod examples;
mod html;
mod job;
mod log;
mod parallel;
mod publish;
mod read;
pub mod reconcile;
mod redrive;
mod run;
mod scope;
mod state;

pub use apply::apply;
pub use compare::{Comparison, Field, compare as compare_reading};
pub use counts::{Counts, Deleted, Refusals};
pub use diff::{Diff, Group, ListedChange, listed_changes};
pub use error::ReplayError;
pub use examples::Example;
pub use html::page;
pub use redrive::{Redriven, redrive};
pub use run::{abort, compare, diff, start};
pub use scope::Scope;
pub use state::{Progress, ReplayConfig};
