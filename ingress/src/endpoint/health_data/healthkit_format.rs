//! `POST /health-data/healthkit/{format}`: HealthKit samples, in the format that the path names.

use axum::{extract::Request, response::Response};
use schemas::format::Provider;

use super::payload::{self, Route};
use crate::{
    admission::Authenticated,
    endpoint::{Id, examples::EndpointExamples},
    parameters::Parameters,
    refusal::Refusal,
    request_context::RequestContext,
    text_in_path::TextInPath,
};

/// Accepts HealthKit samples in the format that the path names.
#[utoipa::path(
    post, path = "/health-data/healthkit/{format}", tag = "Health data",
    params(
        ("format" = String, Path, description = "standard-json (or json), fhir-json, fhir-xml, health-auto-export or export-xml"),
        Parameters,
    ),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/fhir+json"), (String = "application/fhir+xml"), (String = "application/xml")), description = "The payload, in the format of the path"),
    responses(
        (status = 200, description = "Stored: Kafka has acknowledged the body. A standard-json array returns one entry for each sample; any other body returns one object.", body = Vec<Id>),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn healthkit_format(
    context: RequestContext,
    sender: Authenticated,
    TextInPath(format): TextInPath,
    request: Request,
) -> Response {
    payload::answer(context, sender, Route { provider: Provider::HealthKit, format: Some(&format) }, request).await
}

/// Returns the examples of this endpoint for the OpenAPI document.
pub(in crate::endpoint) fn examples() -> EndpointExamples {
    let mut examples = payload::examples("/health-data/healthkit/{format}", Provider::HealthKit);
    examples.refusals.push(("unknown-format", Refusal::UnknownFormat(Provider::HealthKit)));
    examples
}
