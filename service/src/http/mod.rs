//! What every HTTP service needs, so that all of them answer, limit and authenticate in the same way: [`problem`] documents, the
//! reading of a [`body`] under limits and its content [`coding`], [`correlation`] ids, the [`listener`] with its limits, and the
//! authenticated [`principal`] as an extractor.
//!
//! Deliberately absent: middleware layers. axum boxes and moves the future of every layer, on the way of every request.

pub mod body;
pub mod coding;
pub mod correlation;
pub mod listener;
pub mod principal;
pub mod problem;
mod write_timeout;
