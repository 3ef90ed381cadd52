//! The endpoints for payloads: two routes for each provider, with and without the format in the path.

pub(crate) mod healthkit;
pub(crate) mod healthkit_format;
pub(crate) mod medisante;
pub(crate) mod medisante_format;
mod payload;
mod receipts;
