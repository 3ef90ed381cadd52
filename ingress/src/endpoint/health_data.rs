//! `POST /health-data/{provider}` and `POST /health-data/{provider}/{format}`: a payload with readings.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use schemas::{
    format::{Format, Provider},
    raw::Kind,
    receipt::Position,
};
use time::OffsetDateTime;

use super::{Id, receipts::Receipts};
use crate::{
    admission, body,
    exchange::Exchange,
    keep::{self, Kept},
    keys::{Credential, Scope},
    parameters::Parameters,
    refusal::Refusal,
    state::{AppState, Shared},
    upload,
    wellformed::{self, Malformed, Shape},
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
pub(crate) async fn medisante(State(state): State<AppState>, request: Request) -> Response {
    let exchange = Exchange::begin(&state, request.headers());
    let accepted = accept(Provider::Medisante, None, &exchange, request).await;
    exchange.answer(accepted)
}

/// Accepts a payload of the Medisanté portal in the format that the path names.
#[utoipa::path(
    post, path = "/health-data/medisante/{format}", tag = "Health data",
    params(
        ("format" = String, Path, description = "standard-json (or json), standard-xml (or xml), fhir-json or fhir-xml"),
        ("deviceId" = Option<String>, Query, description = "The device of each FHIR Observation that names none. standard-json and standard-xml name the device themselves"),
    ),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/fhir+json"), (String = "application/fhir+xml"), (String = "application/xml")), description = "The payload, in the format of the path"),
    responses(
        (status = 200, description = "Kept: Kafka acknowledged the body. `_id` is its receipt.", body = Id),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn medisante_format(
    State(state): State<AppState>,
    Path(format): Path<String>,
    request: Request,
) -> Response {
    let exchange = Exchange::begin(&state, request.headers());
    let accepted = accept(Provider::Medisante, Some(&format), &exchange, request).await;
    exchange.answer(accepted)
}

/// Accepts HealthKit samples; the Content-Type decides the format.
#[utoipa::path(
    post, path = "/health-data/healthkit", tag = "Health data",
    params(
        ("type" = Option<String>, Query, description = "The type of each standard-json sample that names none"),
        ("unit" = Option<String>, Query, description = "The unit of each standard-json sample that names none"),
        ("deviceId" = Option<String>, Query, description = "The device of each sample that names none, and of all samples of an export-xml. An export names devices by their model only, so use one deviceId for each person"),
        ("defaults" = Option<String>, Query, description = "`react-native-health`: the documented default units of this library hold for each standard-json sample without a unit. Takes precedence over the default of the API key. Without both, a sample without a unit is refused if its type has several units"),
    ),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/fhir+json"), (String = "application/fhir+xml"), (String = "application/xml")), description = "standard-json by application/json, fhir-json by application/fhir+json, fhir-xml by application/fhir+xml, export-xml by application/xml or text/xml"),
    responses(
        (status = 200, description = "Kept: Kafka acknowledged the body. One entry for each sample of an array; one object for any other body.", body = Vec<Id>),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn healthkit(State(state): State<AppState>, request: Request) -> Response {
    let exchange = Exchange::begin(&state, request.headers());
    let accepted = accept(Provider::HealthKit, None, &exchange, request).await;
    exchange.answer(accepted)
}

/// Accepts HealthKit samples in the format that the path names.
#[utoipa::path(
    post, path = "/health-data/healthkit/{format}", tag = "Health data",
    params(
        ("format" = String, Path, description = "standard-json (or json), fhir-json, fhir-xml, health-auto-export or export-xml"),
        ("type" = Option<String>, Query, description = "The type of each standard-json sample that names none"),
        ("unit" = Option<String>, Query, description = "The unit of each standard-json sample that names none"),
        ("deviceId" = Option<String>, Query, description = "The device of each sample that names none, and of all samples of an export-xml. An export names devices by their model only, so use one deviceId for each person"),
        ("defaults" = Option<String>, Query, description = "`react-native-health`: the documented default units of this library hold for each standard-json sample without a unit. Takes precedence over the default of the API key. Without both, a sample without a unit is refused if its type has several units"),
    ),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/fhir+json"), (String = "application/fhir+xml"), (String = "application/xml")), description = "The payload, in the format of the path"),
    responses(
        (status = 200, description = "Kept: Kafka acknowledged the body. One entry for each sample of a standard-json array; one object for any other body.", body = Vec<Id>),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn healthkit_format(
    State(state): State<AppState>,
    Path(format): Path<String>,
    request: Request,
) -> Response {
    let exchange = Exchange::begin(&state, request.headers());
    let accepted = accept(Provider::HealthKit, Some(&format), &exchange, request).await;
    exchange.answer(accepted)
}

/// What the head of an admitted request says.
struct Head {
    credential: Arc<Credential>,
    format: Format,
    parameters: Parameters,
}

async fn accept(
    provider: Provider,
    named: Option<&str>,
    exchange: &Exchange<'_>,
    request: Request,
) -> Result<Response, Refusal> {
    let shared = exchange.shared;
    let (parts, body) = request.into_parts();
    let head = head(shared, provider, named, &parts);
    let (head, body) = body::admitted(head, &parts.headers, body).await?;
    if head.format == Format::ExportXml {
        return export(provider, exchange, &parts, head, body).await;
    }
    let received = body::read(&parts.headers, body, shared.limits).await?;
    let looked = if received.decoded {
        wellformed::payload(provider, head.format, &received.bytes)
    } else {
        Err(Malformed::Coding)
    };
    let kind = Kind::Payload(head.format);
    let hash = shared.content_key.hash(&received.bytes);
    let mut headers = keep::headers(kind, &parts.headers, &head.credential, &exchange.correlation_id, &hash);
    head.parameters.add_to(&mut headers);
    let topic = provider.raw_topic(head.format);
    let place = keep::partition(shared, topic, &hash)?;
    let kept = Kept { topic, place, headers, body: &received.bytes };
    let position = keep::keep(shared, &kept).await?;
    let shape = looked.map_err(|why| keep::malformed(shared, &position, why))?;
    shared.meters.accepted(kept.topic).increment(1);
    Ok(answer(shared, position, head.format.has_item_receipts(provider), &shape))
}

/// An export may be gigabytes: it is kept while it comes.
async fn export(
    provider: Provider,
    exchange: &Exchange<'_>,
    parts: &Parts,
    head: Head,
    body: Body,
) -> Result<Response, Refusal> {
    let shared = exchange.shared;
    let kind = Kind::Payload(head.format);
    // The parts of the upload get their own.
    let hash = shared.content_key.hash(&[]);
    let mut headers = keep::headers(kind, &parts.headers, &head.credential, &exchange.correlation_id, &hash);
    head.parameters.add_to(&mut headers);
    let topic = provider.raw_topic(head.format);
    let (position, looked) = upload::receive(shared, &parts.headers, topic, headers, body).await?;
    looked.map_err(|why| keep::malformed(shared, &position, why))?;
    shared.meters.accepted(topic).increment(1);
    Ok(Json(Id { id: shared.receipt_key.issue(&position) }).into_response())
}

fn head(shared: &Shared, provider: Provider, named: Option<&str>, parts: &Parts) -> Result<Head, Refusal> {
    let now = OffsetDateTime::now_utc();
    let credential = admission::admit(&shared.keys, &parts.headers, Scope::HealthDataWrite, Some(provider), now)?;
    let format = admission::format(provider, named, &parts.headers)?;
    let mut parameters = Parameters::of_payload(provider, &parts.uri)?;
    if provider == Provider::HealthKit {
        parameters.defaults = parameters.defaults.or(credential.defaults);
    }
    Ok(Head { credential, format, parameters })
}

fn answer(shared: &Shared, position: Position, one_each: bool, shape: &Shape) -> Response {
    match shape.array_items {
        Some(count) if one_each => Receipts::new(shared.receipt_key.clone(), position, count).into_response(),
        Some(_) | None => Json(Id { id: shared.receipt_key.issue(&position) }).into_response(),
    }
}
