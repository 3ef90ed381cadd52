//! `POST /health-data/medisante`: a payload of the Medisanté portal, in the format that the Content-Type determines.

use axum::{extract::Request, response::Response};
use schemas::format::Provider;

use super::payload::{self, Route};
use crate::{
    admission::Authenticated,
    endpoint::{Id, examples::EndpointExamples},
    refusal::Refusal,
    request_context::RequestContext,
};

/// Accepts a payload of the Medisanté portal; the Content-Type determines the format.
#[utoipa::path(
    post, path = "/health-data/medisante", tag = "Health data",
    params(("deviceId" = Option<String>, Query, description = "The device of each FHIR Observation that does not name one. standard-json and standard-xml payloads name the device themselves")),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/fhir+json"), (String = "application/fhir+xml"), (String = "application/xml")), description = "application/json means standard-json, application/fhir+json fhir-json, application/fhir+xml fhir-xml, application/xml or text/xml standard-xml"),
    responses(
        (status = 200, description = "Stored: Kafka has acknowledged the body. `_id` is its receipt.", body = Id),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn medisante(context: RequestContext, sender: Authenticated, request: Request) -> Response {
    payload::answer(context, sender, Route { provider: Provider::Medisante, format: None }, request).await
}

/// Returns the examples of this endpoint for the OpenAPI document.
pub(in crate::endpoint) fn examples() -> EndpointExamples {
    let mut examples = payload::examples("/health-data/medisante", Provider::Medisante);
    examples.refusals.push(("content-type", Refusal::ContentType(Provider::Medisante)));
    examples
}
