//! The library of the binary `device-manager`, which the end-to-end tests use as well.

pub mod boot;
pub mod cli;
pub mod command;
pub mod error;
pub mod output;
pub mod simulate;
