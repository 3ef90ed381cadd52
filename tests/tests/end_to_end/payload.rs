//! What senders send, with invented values.

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};
use uuid::Uuid;

pub(crate) const START: OffsetDateTime = datetime!(2026-03-01 00:00:00 UTC);

/// The `number`th glucose reading: its own correlation id, and measured `number` seconds after [`START`].
pub(crate) fn glucose(number: i64) -> Value {
    glucose_of("350000000000001", &text(START + Duration::seconds(number)))
}

pub(crate) fn glucose_of(device: &str, measured: &str) -> Value {
    json!({
        "metadata": {
            "correlationId": Uuid::new_v4(), "receivedTime": measured, "deviceGroups": [], "measurementType": "Glucose",
        },
        "device": {
            "id": "", "serialNumber": "SN-1", "IMEI": device, "IMSI": device,
            "manufacturer": "Invented Devices", "model": "GL-40", "timezone": "Europe/Zurich",
        },
        "measurements": { "glucose": { "value": 5.6, "unit": "mmol/L", "isInRange": true }, "timestamp": measured },
    })
}

/// A HealthKit heart rate sample.
pub(crate) fn heart_rate(value: impl Into<Value>) -> Value {
    json!({
        "id": Uuid::new_v4(), "type": "HKQuantityTypeIdentifierHeartRate", "value": value.into(), "unit": "count/min",
        "deviceId": "watch-1", "sourceName": "Watch", "sourceId": "com.example.health",
        "startDate": text(START), "endDate": text(START),
    })
}

fn text(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap()
}
