//! `GET /openapi.json`: the description of this API, made from the code.

use std::sync::LazyLock;

use axum::{
    extract::{Request, State},
    http::header::CONTENT_TYPE,
    response::Response,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};

use super::{assign, documented::Documented, health_data, unassign};
use crate::{exchange::Exchange, parameters::Parameters, problem::Problem, state::AppState};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Device Manager API",
        description = "Accepts readings of health devices, and commands that say who holds which device.",
        license(name = "Apache-2.0"),
    ),
    paths(
        health_data::medisante,
        health_data::medisante_format,
        health_data::healthkit,
        health_data::healthkit_format,
        assign::assign,
        unassign::unassign,
    ),
    components(schemas(Problem)),
    modifiers(&Security, &Documented)
)]
struct Api;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))));
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| Api::openapi().to_pretty_json().unwrap_or_default());

/// The OpenAPI 3.1 document as JSON text.
#[must_use]
pub fn openapi_json() -> &'static str {
    &DOCUMENT
}

pub(crate) async fn openapi(State(state): State<AppState>, request: Request) -> Response {
    let exchange = Exchange::begin(&state, request.headers());
    let (parts, _) = request.into_parts();
    let answer = Parameters::none(&parts.uri).map(|()| ([(CONTENT_TYPE, "application/json")], openapi_json()));
    exchange.answer(answer)
}
