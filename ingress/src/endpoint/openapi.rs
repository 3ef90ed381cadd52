//! `GET /openapi.json`: the OpenAPI document of this API, generated from the code.

use std::sync::LazyLock;

use axum::{extract::Request, http::header::CONTENT_TYPE, response::Response};
use service::http::problem::Problem;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        RefOr, Required, Schema,
        schema::AdditionalProperties,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    devices::{assign, unassign},
    health_data::provider,
};
use crate::{parameters::Parameters, request_context::RequestContext};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Device Manager API",
        description = "Accepts readings of health devices, and commands that assign devices to patients.",
        license(name = "Apache-2.0"),
    ),
    paths(
        assign::assign,
        unassign::unassign,
    ),
    components(schemas(Problem)),
    modifiers(&Security, &Endpoints)
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

/// Adds the payload routes, and the examples and the refusals of each endpoint.
struct Endpoints;

impl Modify for Endpoints {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        provider::add_to(openapi);
        for endpoint in [assign::examples(), unassign::examples()] {
            endpoint.add_to(openapi);
        }
        // An unassign without a body ends the assignment now.
        let unassign = openapi.paths.paths.get_mut("/devices/{id}/unassign").and_then(|path| path.post.as_mut());
        if let Some(body) = unassign.and_then(|operation| operation.request_body.as_mut()) {
            body.required = Some(Required::False);
        }
        // Unknown members are refused.
        for name in ["AssignBody", "UnassignBody"] {
            let schemas = openapi.components.as_mut().map(|components| &mut components.schemas);
            if let Some(RefOr::T(Schema::Object(body))) = schemas.and_then(|schemas| schemas.get_mut(name)) {
                body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| Api::openapi().to_pretty_json().unwrap_or_default());

/// Returns the OpenAPI 3.1 document as JSON text.
#[must_use]
pub fn openapi_json() -> &'static str {
    &DOCUMENT
}

pub(crate) async fn openapi(context: RequestContext, request: Request) -> Response {
    let answer = Parameters::none(request.uri()).map(|()| ([(CONTENT_TYPE, "application/json")], openapi_json()));
    context.answer(answer)
}
