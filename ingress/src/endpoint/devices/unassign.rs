//! `POST /devices/{id}/unassign`: ends the assignment of a device.

use axum::{
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use schemas::{event::DeviceId, example, raw::RecordKind};
use service::http::{
    body::Received,
    problem::{Fault, Location},
};
use utoipa::ToSchema;
use uuid::Uuid;

use super::command::{self, AdmittedCommand, Command, RECEIPT, Unusable};
use crate::{
    admission::Authenticated,
    endpoint::examples::{EndpointExamples, ExampleBody},
    refusal::Refusal,
    request_context::RequestContext,
    text_in_path::TextInPath,
};

/// When the assignment ends. The body may also be empty.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which schemas::command parses")]
pub(crate) struct UnassignBody {
    /// When the assignment ends, in RFC 3339 format. The default is the current time.
    #[schema(rename = "effectiveFrom")]
    effective_from: Option<String>,
}

/// Ends a device's assignment.
#[utoipa::path(
    post, path = "/devices/{id}/unassign", tag = "Devices",
    params(("id" = Uuid, Path, description = "The `_id` in the response to the assign command")),
    request_body(content = UnassignBody),
    responses(
        (status = 204, description = "Recorded. The receipt resolves to the verdict, which says whether the command took effect.", headers(("Receipt" = String, description = "The receipt of the command. `device-manager trace` resolves it to the verdict"))),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn unassign(
    context: RequestContext,
    sender: Authenticated,
    TextInPath(id): TextInPath,
    request: Request,
) -> Response {
    let accepted = accept(&context, sender, &id, request).await;
    context.answer(accepted)
}

async fn accept(
    context: &RequestContext,
    sender: Authenticated,
    id: &str,
    request: Request,
) -> Result<impl IntoResponse + use<>, Refusal> {
    let admitted = AdmittedCommand::read(context, sender, request).await?;
    let device = Uuid::try_parse(id).ok();
    let in_path = device
        .map_or_else(|| DeviceId::parse(id).ok().map(|id| id.as_str().to_owned()), |device| Some(device.to_string()));
    let checked = check(device, &admitted.body);
    let command = Command { kind: RecordKind::Unassign, device, in_path, checked };
    let receipt = command::accept(context, &admitted, command).await?;
    Ok((StatusCode::NO_CONTENT, [(RECEIPT, receipt)]))
}

fn check(device: Option<Uuid>, received: &Received) -> Result<(), Unusable> {
    let body = check_body(received);
    if device.is_some() {
        return body;
    }
    let id = "id in the path must be the _id from the response to the assign command".to_owned();
    let mut faults = vec![Fault::new(Some("id"), Location::Path, id)];
    match body {
        Ok(()) => {}
        Err(Unusable::Malformed(why)) => faults.push(Fault::new(None, Location::Body, why.to_string())),
        Err(Unusable::Faults(more)) => faults.extend(more),
    }
    Err(Unusable::Faults(faults))
}

fn check_body(received: &Received) -> Result<(), Unusable> {
    if !received.bytes.trim_ascii().is_empty() {
        schemas::command::unassign(command::json(received)?)?;
    }
    Ok(())
}

/// Returns the examples of this endpoint for the OpenAPI document.
pub(in crate::endpoint) fn examples() -> EndpointExamples {
    let body = ExampleBody { content_type: "application/json", name: "unassign", text: example::UNASSIGN };
    command::examples("/devices/{id}/unassign", body, |text| schemas::command::unassign(text).err().map(Unusable::from))
}
