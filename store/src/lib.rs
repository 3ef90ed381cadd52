//! The database: its tables and views, the conversion between a reading and its row, and the queries of the operator's tools.
//!
//! [`migrate`] creates or upgrades the tables, [`comment`] writes comments on their columns, and [`role`] creates the role that may
//! read the contract views. [`reading`] converts between a reading and its row. [`trace`] returns what became of a
//! payload, [`reconcile`] what became of ranges of them, [`find`] the payloads of a patient or a device, [`dead_letters`] what was
//! refused, [`drift`] what payloads contained that is unknown, and [`skip`] stores the records and gaps that an operator gives up.
//! [`audit`] records who looked at identified data.
//! The sink decides what is written, and when.

pub mod audit;
pub mod comment;
pub mod connect;
pub mod copy;
pub mod dead_letters;
pub mod drift;
pub mod error_class;
pub mod find;
pub mod migrate;
pub mod reading;
pub mod reconcile;
pub mod replay;
pub mod role;
pub mod skip;
pub mod trace;
pub mod validate;
mod verdict;

use schemas::format::RawTopic;

pub use verdict::Verdict;

/// Returns the number of a raw topic in the tables.
#[must_use]
pub fn topic_code(topic: RawTopic) -> i16 {
    i16::from(topic.code())
}

/// Returns the raw topic with a number from a table.
///
/// # Errors
/// No raw topic has the number.
pub fn topic_of(code: i16) -> Result<RawTopic, sqlx::Error> {
    let unknown = || sqlx::Error::Decode(format!("there is no raw topic with the code {code}").into());
    u8::try_from(code).ok().and_then(RawTopic::from_code).ok_or_else(unknown)
}
