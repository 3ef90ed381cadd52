//! The parts that every HTTP service shares, so that all services respond, limit and authenticate in the same way: [`problem`]
//! documents, reading a [`body`] within limits and decoding its content [`coding`], [`correlation`] ids, the [`listener`] with
//! its limits, and the authenticated [`principal`] as an extractor.
//!
//! Deliberately absent: middleware layers. axum boxes and moves the future of every layer for every request.

pub mod body;
pub mod coding;
pub mod correlation;
pub mod listener;
pub mod principal;
pub mod problem;
mod write_timeout;
