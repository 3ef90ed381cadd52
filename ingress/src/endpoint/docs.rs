//! `GET /docs`: the OpenAPI document as an interactive page, with all its assets in the binary. The page is served on a
//! loopback address, or if it is enabled: it is large, and needs no key.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    http::{
        StatusCode,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use utoipa_swagger_ui::Config;

use crate::state::AppState;

/// The page may load and send nothing except from and to this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/docs", get(async || Redirect::to("/docs/")))
        .route("/docs/", get(async || asset("index.html")))
        .route("/docs/{file}", get(async |Path(file): Path<String>| asset(&file)))
}

fn asset(file: &str) -> Response {
    let (content_type, bytes) = match file {
        "index.html" => ("text/html; charset=utf-8", include_str!("page/index.html").as_bytes().into()),
        "page.css" => ("text/css; charset=utf-8", include_str!("page/page.css").as_bytes().into()),
        "page.js" => ("text/javascript; charset=utf-8", include_str!("page/page.js").as_bytes().into()),
        // Other files of the library are not served; among them is an index.html of its own.
        "swagger-ui.css" => ("text/css; charset=utf-8", library(file)),
        "swagger-ui-bundle.js" => ("text/javascript; charset=utf-8", library(file)),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(CONTENT_TYPE, content_type), (CONTENT_SECURITY_POLICY, POLICY)], bytes).into_response()
}

fn library(file: &str) -> std::borrow::Cow<'static, [u8]> {
    let found = utoipa_swagger_ui::serve(file, Arc::new(Config::default()));
    found.ok().flatten().map(|file| file.bytes).unwrap_or_default()
}
