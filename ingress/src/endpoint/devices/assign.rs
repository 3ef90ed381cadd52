//! `POST /devices/assign`: assigns a device to a patient.

use axum::{
    Json,
    extract::Request,
    response::{IntoResponse, Response},
};
use schemas::{example, format::Provider, identity, raw::RecordKind};
use serde_json::Value;
use service::http::body::Received;
use utoipa::{
    ToSchema,
    openapi::{Object, ObjectBuilder, Type},
};
use uuid::Uuid;

use super::command::{self, AdmittedCommand, Command, RECEIPT, Unusable};
use crate::{
    admission::Authenticated,
    endpoint::{
        Id,
        examples::{EndpointExamples, ExampleBody},
    },
    keys::Scope,
    refusal::Refusal,
    request_context::RequestContext,
};

/// A device and the patient to assign it to.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which schemas::command parses")]
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
    #[schema(rename = "deviceProvider", schema_with = device_provider)]
    device_provider: String,
    /// The patient to assign the device to.
    #[schema(rename = "assignedPatientId", example = "patient-1")]
    assigned_patient_id: String,
    /// The serial number.
    #[schema(rename = "serialNumber")]
    serial_number: Option<String>,
    /// What the device can do.
    features: Option<Value>,
    /// When the assignment starts, in RFC 3339 format. The default is the current time.
    #[schema(rename = "effectiveFrom")]
    effective_from: Option<String>,
}

/// Returns the schema of `deviceProvider`.
fn device_provider() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("The provider that sends the device's readings."))
        .enum_values(Some(Provider::names().map(|(name, _)| name)))
        .examples(["apple-healthkit"])
        .build()
}

/// Assigns a device to a patient.
#[utoipa::path(
    post, path = "/devices/assign", tag = "Devices", request_body = AssignBody,
    responses(
        (status = 200, description = "Recorded. `_id` is the device's id, for the unassign command.", body = Id, headers(("Receipt" = String, description = "The receipt of the command. `device-manager trace` resolves it to the verdict"))),
    ),
    security(("apiKey" = []), ("bearer" = []))
)]
pub(crate) async fn assign(context: RequestContext, sender: Authenticated, request: Request) -> Response {
    let accepted = accept(&context, sender, request).await;
    context.answer(accepted)
}

async fn accept(
    context: &RequestContext,
    sender: Authenticated,
    request: Request,
) -> Result<impl IntoResponse + use<>, Refusal> {
    let admitted = AdmittedCommand::read(context, sender, request).await?;
    let parsed = parse(&admitted.body);
    if let Ok((provider, _)) = &parsed
        && !admitted.credential.may(Scope::DevicesWrite, Some(*provider))
    {
        return Err(Refusal::Forbidden(Scope::DevicesWrite));
    }
    let (device, checked) = match parsed {
        Ok((_, device)) => (Some(device), Ok(())),
        Err(unusable) => (None, Err(unusable)),
    };
    let command = Command { kind: RecordKind::Assign, device, in_path: None, checked };
    let receipt = command::accept(context, &admitted, command).await?;
    let id = device.as_ref().map(Uuid::to_string).unwrap_or_default();
    Ok(([(RECEIPT, receipt)], Json(Id { id })))
}

/// Returns the provider and the `_id` of the device if the whole body is valid.
fn parse(received: &Received) -> Result<(Provider, Uuid), Unusable> {
    let assign = schemas::command::assign(command::json(received)?)?;
    Ok((assign.provider, identity::device_key(assign.provider, &assign.device_id)))
}

/// Returns the examples of this endpoint for the OpenAPI document.
pub(in crate::endpoint) fn examples() -> EndpointExamples {
    let body = ExampleBody { content_type: "application/json", name: "assign", text: example::ASSIGN };
    command::examples("/devices/assign", body, |text| schemas::command::assign(text).err().map(Unusable::from))
}
