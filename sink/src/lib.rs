//! Events into Postgres, each exactly once in its effect.
//!
//! `consume` reads the event topics from the offsets that Postgres holds and fills a [`batch`]; `writer` writes it in
//! one transaction ([`mod@write`]) that also moves those offsets, and only from where this sink left them. Both exist once for
//! each [`item::Lane`]. What a reading's
//! versions come to ([`merge`]), what device commands come to ([`fold`]) and how outcomes are kept ([`ranges`]) are pure
//! functions. The tables, and the conversion of a reading into its row, are those of the crate `store`.

pub mod batch;
mod config;
mod consume;
pub mod dead_letters;
pub mod decode;
pub mod error;
pub mod fold;
pub mod item;
pub mod merge;
mod pipeline;
pub mod ranges;
mod skips;
pub mod staged;
mod verdict;
pub mod write;
mod writer;

pub use batch::BatchLimits;
pub use config::SinkConfig;
pub use error::SinkError;
pub use pipeline::run;
