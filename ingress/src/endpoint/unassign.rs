//! `POST /devices/{id}/unassign`: takes a device from whoever holds it.

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
};
use schemas::{event::DeviceId, format::RawTopic, raw::Kind};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::assign;
use crate::{
    admission::{self, Parameters},
    body,
    body::Received,
    exchange::Exchange,
    keep::{self, Kept},
    keys::Scope,
    refusal::{Problem, Refusal},
    state::AppState,
    wellformed::Malformed,
};

/// The body, which may be empty.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body; parsing goes field by field")]
pub(crate) struct UnassignBody {
    /// From when this holds, RFC 3339; now where it is absent.
    #[schema(rename = "effectiveFrom")]
    effective_from: Option<String>,
}

/// Ends a device's assignment.
#[utoipa::path(
    post, path = "/devices/{id}/unassign", tag = "Devices",
    params(("id" = Uuid, Path, description = "The `_id` that the assign command was answered with")),
    request_body(content = Option<UnassignBody>),
    responses(
        (status = 204, description = "Recorded."),
        (status = "4XX", description = "Refused. A command that cannot be used is kept all the same, and answered 400 with its receipt.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka did not acknowledge in time. Try again after Retry-After.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn unassign(State(state): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    let exchange = Exchange::begin(&state, request.headers());
    let accepted = accept(&exchange, &id, request).await;
    exchange.answer(accepted)
}

async fn accept(exchange: &Exchange<'_>, id: &str, request: Request) -> Result<StatusCode, Refusal> {
    let shared = exchange.shared;
    let (parts, body) = request.into_parts();
    let now = OffsetDateTime::now_utc();
    // The `_id` is a one-way name: it does not show the provider, so a key's list of providers cannot be applied.
    let credential = admission::admit(&shared.keys, &parts.headers, Scope::DevicesWrite, None, now)
        .and_then(|credential| Parameters::none(&parts).map(|()| credential));
    let (credential, body) = body::admitted(credential, &parts.headers, body).await?;
    let received = body::read(&parts.headers, body, shared.limits).await?;
    let device_key = Uuid::try_parse(id).ok();
    let checked = match device_key {
        Some(_) => check(&received),
        None => Err(Malformed::Command("the id in the path must be the _id that the assign command was answered with")),
    };
    let hash = shared.content_key.hash(&received.bytes);
    let mut headers = keep::headers(Kind::Unassign, &parts.headers, &credential, &exchange.correlation_id, &hash);
    let key = device_key.map(|key| key.to_string());
    headers.device_id = key.clone().or_else(|| DeviceId::parse(id).ok().map(|id| id.as_str().to_owned()));
    let place = assign::command_place(shared, key.as_deref(), &hash)?;
    let kept = Kept { topic: RawTopic::Devices, place, headers, body: &received.bytes };
    let position = keep::keep(shared, &kept).await?;
    checked.map_err(|why| keep::malformed(shared, &position, why))?;
    shared.meters.accepted(RawTopic::Devices).increment(1);
    Ok(StatusCode::NO_CONTENT)
}

fn check(received: &Received) -> Result<(), Malformed> {
    if received.bytes.trim_ascii().is_empty() {
        return Ok(());
    }
    assign::effective_from(&assign::object(received)?)
}
