//! What the binary `device-manager` is made of, for the end-to-end tests to use as well.

pub mod boot;
pub mod cli;
pub mod command;
pub mod error;
pub mod output;
pub mod simulate;
