//! `POST /health-data/medisante/{format}`: a payload of the Medisanté portal, in the format that the path names.

use axum::{extract::Request, response::Response};
use schemas::format::Provider;

use super::payload::{self, Route};
use crate::{
    admission::Authenticated,
    endpoint::{Id, examples::EndpointExamples},
    refusal::Refusal,
    request_context::RequestContext,
    text_in_path::TextInPath,
};

/// Accepts a payload of the Medisanté portal in the format that the path names.
#[utoipa::path(
    post, path = "/health-data/medisante/{format}", tag = "Health data",
    params(
        ("format" = String, Path, description = "standard-json (or json), standard-xml (or xml), fhir-json or fhir-xml"),
        ("deviceId" = Option<String>, Query, description = "The device of each FHIR Observation that does not name one. standard-json and standard-xml payloads name the device themselves"),
    ),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/fhir+json"), (String = "application/fhir+xml"), (String = "application/xml")), description = "The payload, in the format of the path"),
    responses(
        (status = 200, description = "Stored: Kafka has acknowledged the body. `_id` is its receipt.", body = Id),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn medisante_format(
    context: RequestContext,
    sender: Authenticated,
    TextInPath(format): TextInPath,
    request: Request,
) -> Response {
    payload::answer(context, sender, Route { provider: Provider::Medisante, format: Some(&format) }, request).await
}

/// Returns the examples of this endpoint for the OpenAPI document.
pub(in crate::endpoint) fn examples() -> EndpointExamples {
    let mut examples = payload::examples("/health-data/medisante/{format}", Provider::Medisante);
    examples.refusals.push(("unknown-format", Refusal::UnknownFormat(Provider::Medisante)));
    examples
}
