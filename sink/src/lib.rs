//! Writes events to Postgres, each with effect exactly once.
//!
//! `consume` reads the event topics from the offsets stored in Postgres and fills a [`batch`]. `writer` writes the batch in
//! one transaction ([`mod@write`]). The transaction also advances those offsets, and only if they are still the ones that
//! this sink wrote last. There is one reader and one writer for each [`item::Lane`].
//!
//! Three parts are pure functions: the merge of a reading's versions ([`merge`]), the fold of device commands into intervals
//! ([`fold`]), and the storage of outcomes as runs ([`outcome_runs`]). The tables, and the conversion between a reading and its
//! row, are in the crate `store`.

pub mod batch;
mod config;
mod consume;
pub mod dead_letters;
pub mod decode;
pub mod encoded_readings;
pub mod error;
pub mod fold;
pub mod item;
mod lane_state;
pub mod merge;
pub mod outcome_runs;
mod pipeline;
mod skips;
pub mod write;
mod writer;

pub use batch::BatchLimits;
pub use config::SinkConfig;
pub use error::SinkError;
pub use pipeline::run;
