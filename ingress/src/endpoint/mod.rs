//! The endpoints, one file each: its parameters, its handler, and its documentation with the refusals that it can return.

pub(crate) mod devices;
pub(crate) mod docs;
mod examples;
pub(crate) mod health_data;
pub(crate) mod openapi;

use serde::Serialize;
use utoipa::ToSchema;

/// The response to an accepted request.
#[derive(Serialize, ToSchema)]
pub(crate) struct Id {
    /// The receipt of a payload or sample, or the id of a device.
    #[serde(rename = "_id")]
    #[schema(example = "AAAAAAAABwAAAAAAAAAqAAAAAEbW3kqFzUc1")]
    pub(crate) id: String,
}
