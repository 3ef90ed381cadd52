//! Commands that assign devices to patients.

pub(crate) mod assign;
mod command;
pub(crate) mod unassign;
