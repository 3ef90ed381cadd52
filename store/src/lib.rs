//! The database: its tables and views, the conversion between a reading and its row, and what others ask it.
//!
//! [`migrate`] brings a database to this release's tables, and [`comment`] says there what each column means; [`role`] makes the role
//! that may read the contract. [`reading`] converts between an event and its row. [`trace`] answers what became of a payload, [`drift`]
//! what payloads held that is unknown, and [`skip`] records what an operator gives up. What is written, and when, is the sink's.

pub mod comment;
pub mod connect;
pub mod copy;
pub mod drift;
pub mod fault;
pub mod migrate;
pub mod reading;
pub mod role;
pub mod skip;
pub mod storable;
pub mod trace;
mod verdict;

use schemas::format::RawTopic;

pub use verdict::Verdict;

/// A raw topic as positions in tables name it.
#[must_use]
pub fn topic_code(topic: RawTopic) -> i16 {
    i16::from(topic.code())
}

/// The raw topic that a position in a table names.
///
/// # Errors
/// No topic has the code.
pub fn topic_of(code: i16) -> Result<RawTopic, sqlx::Error> {
    let unknown = || sqlx::Error::Decode(format!("there is no raw topic with the code {code}").into());
    u8::try_from(code).ok().and_then(RawTopic::from_code).ok_or_else(unknown)
}
