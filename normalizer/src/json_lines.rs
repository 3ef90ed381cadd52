//! Normalized records as JSON, for people who try out a mapping: one object for each item.

use schemas::codec::Event;
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, macros::format_description};

use crate::normalized::{Normalized, Rejection};

/// Fields that contain microseconds since the epoch.
const TIMES: [&str; 6] =
    ["measured_from", "measured_until", "imprecise_until", "received_at", "source_updated_at", "effective_from"];
/// Fields that contain bytes.
const BYTES: [&str; 2] = ["content", "sha256"];

/// Returns one object for each item: `{"reading": …}`, `{"command": …}` or `{"rejection": {"item": …, "reason": …, "detail": …,
/// "device": …}}`. Times are RFC 3339 in UTC, bytes are hexadecimal. Documents have no object of their own: the reading that
/// cites a document describes it.
pub fn json_lines(normalized: &Normalized) -> impl Iterator<Item = Value> {
    let readings = normalized.readings.iter().map(|reading| json!({ "reading": event(reading) }));
    let commands = normalized.commands.iter().map(|command| json!({ "command": event(command) }));
    let rejections = normalized.rejections.iter().flat_map(rejections);
    readings.chain(commands).chain(rejections)
}

fn event<E: Event + Serialize>(event: &E) -> Value {
    // Events have only string keys and finite numbers, so the conversion to JSON cannot fail.
    let mut value = serde_json::to_value(event).unwrap_or(Value::Null);
    readable(&mut value);
    value
}

fn rejections(rejection: &Rejection) -> impl Iterator<Item = Value> {
    (0..rejection.item_count).map(|behind| {
        let item = rejection.item.map(|first| first.saturating_add(behind));
        let Rejection { reason, detail, device, .. } = rejection;
        let device = device.map(|device| device.to_string());
        json!({ "rejection": { "item": item, "reason": reason.as_str(), "detail": detail, "device": device } })
    })
}

fn readable(value: &mut Value) {
    match value {
        Value::Object(object) => object_readable(object),
        Value::Array(elements) => elements.iter_mut().for_each(readable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn object_readable(object: &mut Map<String, Value>) {
    for (name, value) in object {
        match value {
            Value::Number(number) if TIMES.contains(&name.as_str()) => {
                *value = number.as_i64().and_then(rfc3339).map_or(Value::Null, Value::from);
            }
            Value::Array(bytes) if BYTES.contains(&name.as_str()) => {
                let bytes = bytes.iter().filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
                *value = hex::encode(bytes.collect::<Vec<_>>()).into();
            }
            other => readable(other),
        }
    }
}

fn rfc3339(micros: i64) -> Option<String> {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()?;
    moment.format(format).ok()
}
