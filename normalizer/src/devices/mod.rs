//! Device commands: who gets a device, and who gives it back. `wire` is the documented body, here it becomes an event.

mod wire;

use schemas::{
    event::{Assignment, Command, PatientId},
    format::Provider,
    identity::device_key,
    moment::Moment,
    raw::{Kind, RawRecord},
    rejection::Reason,
};
use uuid::Uuid;

use crate::{
    MAPPING_VERSION, Normalized, Rejection,
    json::{self, Object},
    observed::{Refused, device, refused},
};

/// Reads a record of `raw.devices`.
pub(crate) fn normalize(record: &RawRecord<'_>) -> Normalized {
    let command = match record.headers.kind {
        Kind::Unassign => unassign(record),
        Kind::Assign | Kind::Payload(_) => assign(record),
    };
    match command {
        Ok(command) => Normalized { commands: vec![command], ..Normalized::default() },
        Err(refused) => {
            let rejection = Rejection { device: refused_device(record), ..Rejection::whole(refused) };
            Normalized { rejections: vec![rejection], ..Normalized::default() }
        }
    }
}

/// The `_id` of the device that a refused command names.
fn refused_device(record: &RawRecord<'_>) -> Option<Uuid> {
    match record.headers.kind {
        Kind::Unassign => Uuid::try_parse(record.headers.device_id.as_deref()?).ok(),
        Kind::Assign | Kind::Payload(_) => {
            let Object::<wire::Assign<'_>>(body) = serde_json::from_slice(record.body).ok()?;
            Some(device(Provider::parse(&body.device_provider)?, &body.device_id).ok()?.key)
        }
    }
}

fn assign(record: &RawRecord<'_>) -> Result<Assignment, Refused> {
    let text = json::text(record.body)?;
    let Object::<wire::Assign<'_>>(body) = serde_json::from_str(text).map_err(|_| broken(text))?;
    let provider = Provider::parse(&body.device_provider)
        .ok_or(refused(Reason::CommandInvalid, "deviceProvider is neither medisante nor healthkit"))?;
    let device = device(provider, &body.device_id)?;
    let patient = PatientId::parse(&body.assigned_patient_id).map_err(|_| {
        refused(Reason::IdentifierInvalid, "assignedPatientId is empty, too long or has a control character")
    })?;
    Ok(Assignment {
        device_type: body.device_type.map(std::borrow::Cow::into_owned),
        name: body.name.map(std::borrow::Cow::into_owned),
        serial_number: body.serial_number.map(std::borrow::Cow::into_owned),
        features: body.features.map(|features| features.get().to_owned()),
        provider: Some(provider),
        device_id: Some(device.id.clone()),
        patient: Some(patient),
        ..event(record, Command::Assign, device_key(provider, &device.id), body.effective_from.as_deref())?
    })
}

fn unassign(record: &RawRecord<'_>) -> Result<Assignment, Refused> {
    let id = record.headers.device_id.as_deref().unwrap_or_default();
    let key = Uuid::try_parse(id).map_err(|_| refused(Reason::CommandInvalid, "the device's _id is no UUID"))?;
    let text = json::text(record.body)?;
    let body = if text.trim().is_empty() {
        wire::Unassign { effective_from: None }
    } else {
        serde_json::from_str::<Object<_>>(text).map_err(|_| broken(text))?.0
    };
    event(record, Command::Unassign, key, body.effective_from.as_deref())
}

/// JSON that is no command is told from what is no JSON.
fn broken(text: &str) -> Refused {
    match json::broken(text) {
        Refused { reason: Reason::UnexpectedShape, .. } => {
            refused(Reason::CommandInvalid, "the command lacks a required field, or one has not its documented type")
        }
        malformed => malformed,
    }
}

/// What both commands share.
fn event(
    record: &RawRecord<'_>,
    command: Command,
    device_key: Uuid,
    effective_from: Option<&str>,
) -> Result<Assignment, Refused> {
    let effective_from = effective_from
        .map(|text| Moment::rfc3339(text).map(|moment| moment.from_us()))
        .transpose()
        .map_err(|_| refused(Reason::TimeInvalid, "effectiveFrom is not RFC 3339"))?;
    Ok(Assignment {
        device_key,
        command,
        provider: None,
        device_id: None,
        device_type: None,
        name: None,
        serial_number: None,
        features: None,
        patient: None,
        effective_from,
        source: record.headers.source.clone(),
        subject: record.headers.subject.clone(),
        bound_to: record.headers.providers.clone(),
        received_at: record.received_at,
        topic_epoch: i32::from(record.topic_epoch),
        partition: record.partition,
        offset: record.offset,
        mapping_version: MAPPING_VERSION,
        key_id: record.headers.key_id.clone(),
    })
}
