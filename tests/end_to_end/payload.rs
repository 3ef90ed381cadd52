//! Payloads of all kinds of senders, with invented values.

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};
use uuid::Uuid;

pub(crate) const START: OffsetDateTime = datetime!(2026-03-01 00:00:00 UTC);

/// The `number`th glucose reading: it has a new correlation id, and was measured `number` seconds after [`START`].
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

/// A FHIR Observation of a body weight.
pub(crate) fn weight(id: &str, kilograms: f64) -> Value {
    weight_of("scale-1", id, "final", kilograms)
}

pub(crate) fn weight_of(device: &str, id: &str, status: &str, kilograms: f64) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": status, "effectiveDateTime": text(START),
        "code": { "coding": [{ "system": "http://loinc.org", "code": "29463-7" }] },
        "device": { "identifier": { "value": device } },
        "valueQuantity": { "value": kilograms, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg" },
    })
}

/// A blood pressure with a pulse, forwarded by a hub.
pub(crate) fn blood_pressure() -> Value {
    let measured = |value: u32, unit: &str| json!({ "value": value, "unit": unit, "isInRange": true });
    json!({
        "metadata": { "correlationId": Uuid::new_v4(), "receivedTime": text(START), "measurementType": "BloodPressure" },
        "device": { "id": "Invented Devices:HUB-1:000001", "manufacturer": "Invented Devices", "model": "HUB-1" },
        "measurements": {
            "timestamp": text(START),
            "device": { "id": "Invented Devices:BP-800:000002", "manufacturer": "Invented Devices", "model": "BP-800" },
            "systolicBloodPressure": measured(128, "mmHg"),
            "diastolicBloodPressure": measured(81, "mmHg"),
            "pulse": measured(64, "bpm"),
        },
    })
}

/// An ECG as a PDF document.
pub(crate) fn ecg(base64: &str) -> Value {
    json!({
        "metadata": { "correlationId": Uuid::new_v4(), "receivedTime": text(START), "measurementType": "ECG" },
        "device": { "id": "Invented Devices:ECG-1:000003" },
        "measurements": { "timestamp": text(START), "documents": { "ecgReportBase64PDF": base64 } },
    })
}

pub(crate) fn text(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap()
}
