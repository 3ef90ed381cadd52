//! Device commands, which assign a device to a patient or unassign it. [`schemas::command`] parses the documented body; this
//! module turns the command into an event.

use std::borrow::Cow;

use schemas::{
    command,
    event::{Assignment, Command},
    identity::device_key,
    raw::{RawRecord, RecordKind},
    rejection::Reason,
};
use uuid::Uuid;

use crate::{
    json,
    normalized::{MAPPING_VERSION, Normalized, Rejection},
    refusal::{Refused, RefusedItem, refused},
};

/// Maps a record of `raw.devices`.
pub(crate) fn normalize(record: &RawRecord<'_>) -> Normalized {
    let command = match record.headers.kind {
        RecordKind::Unassign => unassign(record),
        RecordKind::Assign | RecordKind::Payload(_) => assign(record),
    };
    match command {
        Ok(command) => Normalized { commands: vec![command], ..Normalized::default() },
        Err(RefusedItem { why, device }) => {
            let rejection = Rejection { device, ..Rejection::whole(why) };
            Normalized { rejections: vec![rejection], ..Normalized::default() }
        }
    }
}

fn assign(record: &RawRecord<'_>) -> Result<Assignment, RefusedItem> {
    let text = json::text(record.body).map_err(|refused| refused.with_device(None))?;
    let body = command::assign(text).map_err(|faulty| {
        let device = faulty.device.as_ref().map(|(provider, id)| device_key(*provider, id));
        broken(text, &faulty).with_device(device)
    })?;
    Ok(Assignment {
        device_type: Some(body.device_type),
        name: Some(body.name),
        serial_number: body.serial_number,
        features: body.features,
        provider: Some(body.provider),
        device_id: Some(body.device_id.clone()),
        patient: Some(body.patient),
        ..event(record, Command::Assign, device_key(body.provider, &body.device_id), body.effective_from)
    })
}

fn unassign(record: &RawRecord<'_>) -> Result<Assignment, RefusedItem> {
    const NO_UUID: &str = "the device's _id must be a UUID";
    let key = Uuid::try_parse(record.headers.device_id.as_deref().unwrap_or_default()).ok();
    let body = json::text(record.body).and_then(|text| command::unassign(text).map_err(|faulty| broken(text, &faulty)));
    match (key, body) {
        (Some(key), Ok(body)) => Ok(event(record, Command::Unassign, key, body.effective_from)),
        (Some(key), Err(why)) => Err(why.with_device(Some(key))),
        (None, Ok(_)) => Err(refused(Reason::CommandInvalid, NO_UUID).with_device(None)),
        // The ingress answers with the faults of the id and of the body together.
        (None, Err(Refused { detail, .. })) => {
            let detail = Cow::Owned(format!("{NO_UUID}; {detail}"));
            Err(Refused { detail, ..refused(Reason::CommandInvalid, "") }.with_device(None))
        }
    }
}

/// Returns the refusal with all faults of a command. A body that is not JSON is refused as malformed instead.
fn broken(text: &str, faulty: &command::Refused) -> Refused {
    if !json::is_json(text) {
        return json::MALFORMED;
    }
    let faults: Vec<String> = faulty.faults.iter().map(ToString::to_string).collect();
    Refused { detail: Cow::Owned(faults.join("; ")), ..refused(Reason::CommandInvalid, "") }
}

/// Builds the event from the fields that both commands have.
fn event(record: &RawRecord<'_>, command: Command, device_key: Uuid, effective_from: Option<i64>) -> Assignment {
    Assignment {
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
    }
}
