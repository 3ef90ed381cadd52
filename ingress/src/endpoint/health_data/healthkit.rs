//! `POST /health-data/healthkit`: HealthKit samples, in the format that the Content-Type decides.

use axum::{extract::Request, response::Response};
use schemas::format::{Format, Provider};

use super::payload::{self, Route};
use crate::{
    admission::Authenticated,
    endpoint::{Id, documented::Documented},
    parameters::Parameters,
    refusal::Refusal,
    request_context::RequestContext,
};

/// Accepts HealthKit samples; the Content-Type decides the format.
#[utoipa::path(
    post, path = "/health-data/healthkit", tag = "Health data",
    params(Parameters),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/fhir+json"), (String = "application/fhir+xml"), (String = "application/xml")), description = "standard-json by application/json, fhir-json by application/fhir+json, fhir-xml by application/fhir+xml, export-xml by application/xml or text/xml"),
    responses(
        (status = 200, description = "Kept: Kafka acknowledged the body. One entry for each sample of an array; one object for any other body.", body = Vec<Id>),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn healthkit(context: RequestContext, sender: Authenticated, request: Request) -> Response {
    payload::answer(context, sender, Route { provider: Provider::HealthKit, format: None }, request).await
}

/// What the description shows beside the words above.
pub(in crate::endpoint) fn documented() -> Documented {
    let mut documented = payload::documented("/health-data/healthkit", Provider::HealthKit);
    // No Content-Type stands for this format: only a path can name it.
    documented.bodies.retain(|body| body.name != Format::HealthAutoExport.as_str());
    documented.refusals.push(("content-type", Refusal::ContentType(Provider::HealthKit)));
    documented
}
