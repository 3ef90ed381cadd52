//! `GET /docs`: the description as a page to read and to try, with all its assets in the binary. Served on a loopback address, or
//! where it is asked for: it is large, and nobody needs a key to read it.

use axum::Router;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::state::AppState;

pub(crate) fn router() -> Router<AppState> {
    // The validator badge would send the page's address to a server on the internet.
    SwaggerUi::new("/docs").config(Config::new(["/openapi.json"]).validator_url("none")).into()
}
