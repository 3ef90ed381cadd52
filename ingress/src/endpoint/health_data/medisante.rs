//! `POST /health-data/medisante`: a payload of the Medisanté portal, in the format that the Content-Type decides.

use axum::{extract::Request, response::Response};
use schemas::format::Provider;

use super::payload::{self, Route};
use crate::{
    admission::Authenticated,
    endpoint::{Id, documented::Documented},
    refusal::Refusal,
    request_context::RequestContext,
};

/// Accepts a payload of the Medisanté portal; the Content-Type decides the format.
#[utoipa::path(
    post, path = "/health-data/medisante", tag = "Health data",
    params(("deviceId" = Option<String>, Query, description = "The device of each FHIR Observation that names none. standard-json and standard-xml name the device themselves")),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/fhir+json"), (String = "application/fhir+xml"), (String = "application/xml")), description = "standard-json by application/json, fhir-json by application/fhir+json, fhir-xml by application/fhir+xml, standard-xml by application/xml or text/xml"),
    responses(
        (status = 200, description = "Kept: Kafka acknowledged the body. `_id` is its receipt.", body = Id),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn medisante(context: RequestContext, sender: Authenticated, request: Request) -> Response {
    payload::answer(context, sender, Route { provider: Provider::Medisante, format: None }, request).await
}

/// What the description shows beside the words above.
pub(in crate::endpoint) fn documented() -> Documented {
    let mut documented = payload::documented("/health-data/medisante", Provider::Medisante);
    documented.refusals.push(("content-type", Refusal::ContentType(Provider::Medisante)));
    documented
}
