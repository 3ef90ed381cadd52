//! `POST /health-data/healthkit`: HealthKit samples, in the format that the Content-Type determines.

use axum::{extract::Request, response::Response};
use schemas::format::{Format, Provider};

use super::payload::{self, Route};
use crate::{
    admission::Authenticated,
    endpoint::{Id, examples::EndpointExamples},
    parameters::Parameters,
    refusal::Refusal,
    request_context::RequestContext,
};

/// Accepts HealthKit samples; the Content-Type determines the format.
#[utoipa::path(
    post, path = "/health-data/healthkit", tag = "Health data",
    params(Parameters),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/fhir+json"), (String = "application/fhir+xml"), (String = "application/xml")), description = "application/json means standard-json, application/fhir+json fhir-json, application/fhir+xml fhir-xml, application/xml or text/xml export-xml"),
    responses(
        (status = 200, description = "Stored: Kafka has acknowledged the body. An array body returns one entry for each sample; any other body returns one object.", body = Vec<Id>),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn healthkit(context: RequestContext, sender: Authenticated, request: Request) -> Response {
    payload::answer(context, sender, Route { provider: Provider::HealthKit, format: None }, request).await
}

/// Returns the examples of this endpoint for the OpenAPI document.
pub(in crate::endpoint) fn examples() -> EndpointExamples {
    let mut examples = payload::examples("/health-data/healthkit", Provider::HealthKit);
    // Health Auto Export has no Content-Type of its own; only the path can select this format.
    examples.bodies.retain(|body| body.name != Format::HealthAutoExport.as_str());
    examples.refusals.push(("content-type", Refusal::ContentType(Provider::HealthKit)));
    examples
}
