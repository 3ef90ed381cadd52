//! One endpoint, one file: its parameters, its handler, its documentation with the refusals that it can answer with.

pub(crate) mod devices;
pub(crate) mod docs;
mod documented;
pub(crate) mod health_data;
pub(crate) mod openapi;

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
