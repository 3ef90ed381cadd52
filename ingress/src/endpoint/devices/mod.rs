//! Commands that say who holds which device.

pub(crate) mod assign;
mod command;
pub(crate) mod unassign;
