//! One endpoint, one file: its request, its handler, its documentation.

pub(crate) mod assign;
mod command;
pub(crate) mod docs;
mod documented;
pub(crate) mod health_data;
pub(crate) mod openapi;
mod receipts;
pub(crate) mod unassign;

use serde::Serialize;
use utoipa::ToSchema;

/// What an accepted request is answered with.
#[derive(Serialize, ToSchema)]
pub(crate) struct Id {
    /// The receipt of a payload or sample, or a device's id.
    #[serde(rename = "_id")]
    #[schema(example = "AAAAAAAABwAAAAAAAAAqAAAAAEbW3kqFzUc1")]
    pub(crate) id: String,
}
