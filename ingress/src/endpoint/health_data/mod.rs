//! The endpoints for payloads: two routes for each provider, with and without the format in the path.

mod payload;
pub(crate) mod provider;
mod receipts;
