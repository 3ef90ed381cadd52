//! `POST /devices/assign`: gives a device to a patient.

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};
use schemas::{
    content::ContentHash,
    event::{DeviceId, PatientId, SourceName},
    format::{Provider, RawTopic},
    identity,
    moment::Moment,
    raw::Kind,
};
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Id;
use crate::{
    admission::{self, Parameters},
    body,
    body::Received,
    exchange::Exchange,
    keep::{self, Kept},
    keys::Scope,
    raw_log::Place,
    refusal::{Problem, Refusal},
    state::{AppState, Shared},
    wellformed::{self, Malformed},
};

/// The body as it is documented; it is checked field by field, so that each fault has its own words.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body; parsing goes field by field")]
pub(crate) struct AssignBody {
    /// The device's id at its provider.
    #[schema(rename = "deviceId", example = "apple-12345")]
    device_id: String,
    /// The kind of device.
    #[schema(rename = "deviceType", example = "Wearable")]
    device_type: String,
    /// The device's name.
    #[schema(example = "Watch")]
    name: String,
    /// `medisante`, `healthkit` or `apple-healthkit`.
    #[schema(rename = "deviceProvider", example = "apple-healthkit")]
    device_provider: String,
    /// Who gets the device.
    #[schema(rename = "assignedPatientId", example = "patient-1")]
    assigned_patient_id: String,
    /// The serial number.
    #[schema(rename = "serialNumber")]
    serial_number: Option<String>,
    /// What the device can do.
    features: Option<Value>,
    /// From when this holds, RFC 3339; now where it is absent.
    #[schema(rename = "effectiveFrom")]
    effective_from: Option<String>,
}

/// Assigns a device to a patient.
#[utoipa::path(
    post, path = "/devices/assign", tag = "Devices", request_body = AssignBody,
    responses(
        (status = 200, description = "Recorded. `_id` is the device's id, for the unassign command.", body = Id),
        (status = "4XX", description = "Refused. A command that cannot be used is kept all the same, and answered 400 with its receipt.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka did not acknowledge in time. Try again after Retry-After.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn assign(State(state): State<AppState>, request: Request) -> Response {
    let exchange = Exchange::begin(&state, request.headers());
    let accepted = accept(&exchange, request).await;
    exchange.answer(accepted)
}

async fn accept(exchange: &Exchange<'_>, request: Request) -> Result<Json<Id>, Refusal> {
    let shared = exchange.shared;
    let (parts, body) = request.into_parts();
    let now = OffsetDateTime::now_utc();
    let credential = admission::admit(&shared.keys, &parts.headers, Scope::DevicesWrite, None, now)
        .and_then(|credential| Parameters::none(&parts).map(|()| credential));
    let (credential, body) = body::admitted(credential, &parts.headers, body).await?;
    let received = body::read(&parts.headers, body, shared.limits).await?;
    let parsed = device(&received);
    if let Ok((provider, _)) = &parsed
        && !credential.may(Scope::DevicesWrite, Some(*provider))
    {
        return Err(Refusal::Forbidden(Scope::DevicesWrite));
    }
    let device_key = parsed.map(|(_, device_key)| device_key);
    let hash = shared.content_key.hash(&received.bytes);
    let headers = keep::headers(Kind::Assign, &parts.headers, &credential, &exchange.correlation_id, &hash);
    let key = device_key.as_ref().ok().map(Uuid::to_string);
    let place = command_place(shared, key.as_deref(), &hash)?;
    let kept = Kept { topic: RawTopic::Devices, place, headers, body: &received.bytes };
    let position = keep::keep(shared, &kept).await?;
    let device_key = device_key.map_err(|why| keep::malformed(shared, &position, why))?;
    shared.meters.accepted(RawTopic::Devices).increment(1);
    Ok(Json(Id { id: device_key.to_string() }))
}

/// Commands for one device lie in one partition, in their order; of one that names no device only the bytes are known.
pub(super) fn command_place<'a>(
    shared: &Shared,
    key: Option<&'a str>,
    hash: &ContentHash,
) -> Result<Place<'a>, Refusal> {
    key.map_or_else(|| keep::partition(shared, RawTopic::Devices, hash), |key| Ok(Place::Key(key)))
}

/// The provider and the `_id` of the device, once every field is known to be usable.
fn device(received: &Received) -> Result<(Provider, Uuid), Malformed> {
    let body = object(received)?;
    let device_id = body.get("deviceId").and_then(Value::as_str).and_then(|text| DeviceId::parse(text).ok());
    let device_id =
        device_id.ok_or(Malformed::Command("deviceId must be a text of 1 to 256 bytes without control characters"))?;
    let patient = body.get("assignedPatientId").and_then(Value::as_str).and_then(|text| PatientId::parse(text).ok());
    if patient.is_none() {
        return Err(Malformed::Command(
            "assignedPatientId must be a text of 1 to 256 bytes without control characters",
        ));
    }
    let provider = body.get("deviceProvider").and_then(Value::as_str).and_then(Provider::parse);
    let provider =
        provider.ok_or(Malformed::Command("deviceProvider must be medisante, healthkit or apple-healthkit"))?;
    if !is_name(&body, "deviceType") {
        return Err(Malformed::Command("deviceType must be a text of 1 to 256 bytes without control characters"));
    }
    if !is_name(&body, "name") {
        return Err(Malformed::Command("name must be a text of 1 to 256 bytes without control characters"));
    }
    if present(&body, "serialNumber").is_some() && !is_name(&body, "serialNumber") {
        return Err(Malformed::Command("serialNumber must be a text of 1 to 256 bytes without control characters"));
    }
    effective_from(&body)?;
    Ok((provider, identity::device_key(provider, &device_id)))
}

/// The body of a command as a JSON object. The depth is checked first, so that parsing cannot run deep.
pub(super) fn object(received: &Received) -> Result<Map<String, Value>, Malformed> {
    if !received.decoded {
        return Err(Malformed::Coding);
    }
    let text = wellformed::text(&received.bytes)?;
    wellformed::json(text, usize::MAX)?;
    serde_json::from_str(text).map_err(|_| Malformed::Command("the body must be a JSON object"))
}

/// Checks `effectiveFrom` where it is given.
pub(super) fn effective_from(body: &Map<String, Value>) -> Result<(), Malformed> {
    let Some(value) = present(body, "effectiveFrom") else { return Ok(()) };
    // What the normalizer would refuse: an instant before the year 1 or behind 9999.
    let is_time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).is_ok() && Moment::rfc3339(text).is_ok();
    if value.as_str().is_some_and(is_time) {
        return Ok(());
    }
    Err(Malformed::Command("effectiveFrom must be a time of the years 1 to 9999 as RFC 3339 writes it, with an offset"))
}

fn present<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

/// Whether the field is a text within the rules of all names.
fn is_name(body: &Map<String, Value>, name: &str) -> bool {
    body.get(name).and_then(Value::as_str).is_some_and(|text| SourceName::parse(text).is_ok())
}
