//! The requests that a portal or an app would send, with the values of invented patients.

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// The sender whose traffic is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The Medisanté portal: one measurement per request, `standard-json`.
    Medisante,
    /// The Medisanté portal sending FHIR R4 JSON.
    MedisanteFhir,
    /// The back end of an app: an array of HealthKit samples per request.
    Healthkit,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    /// Path and query, relative to the address of the ingress.
    pub path: String,
    /// The body.
    pub body: Vec<u8>,
    /// The number of readings that must result from it.
    pub readings: u64,
}

/// The ids of the simulated devices, as device commands name them.
pub fn device_ids(kind: Kind, devices: u32) -> impl Iterator<Item = String> {
    (0..devices).map(move |device| device_id(kind, device))
}

fn device_id(kind: Kind, device: u32) -> String {
    match kind {
        Kind::Medisante | Kind::MedisanteFhir => format!("{}", 350_000_000_000_000_u64 + u64::from(device)),
        Kind::Healthkit => format!("apple-watch-{device:05}"),
    }
}

/// Returns request `number` of a run, with measurements dated shortly before `now`.
#[must_use]
pub fn request(kind: Kind, seed: u64, number: u64, devices: u32, now: OffsetDateTime) -> Request {
    let mut dice = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
    let device = device_id(kind, dice.random_range(0..devices.max(1)));
    let measured = now - Duration::milliseconds(dice.random_range(0..60_000));
    match kind {
        Kind::Medisante => medisante(&mut dice, &device, measured),
        Kind::MedisanteFhir => fhir(&mut dice, &device, measured),
        Kind::Healthkit => healthkit(&mut dice, &device, measured),
    }
}

fn uuid(dice: &mut StdRng) -> String {
    uuid::Builder::from_random_bytes(dice.random()).into_uuid().to_string()
}

fn text(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_default()
}

/// A decimal with one fractional digit, as devices display it.
fn tenths(dice: &mut StdRng, range: std::ops::Range<u32>) -> Value {
    let tenths = dice.random_range(range);
    serde_json::from_str(&format!("{}.{}", tenths / 10, tenths % 10)).unwrap_or(Value::Null)
}

fn medisante(dice: &mut StdRng, device: &str, measured: OffsetDateTime) -> Request {
    let (measurement_type, model, mut measurements, readings) = match dice.random_range(0..5) {
        0 => ("Glucose", "GL-40", json!({ "glucose": reading(tenths(dice, 35..220), "mmol/L") }), 1),
        1 => {
            let measurements = json!({
                "systolicBloodPressure": reading(dice.random_range(95..185), "mmHg"),
                "diastolicBloodPressure": reading(dice.random_range(55..110), "mmHg"),
                "pulse": reading(dice.random_range(45..130), "bpm"),
                "annotations": { "irregularHeartBeat": dice.random_bool(0.05) },
            });
            ("BloodPressure", "BP-800", measurements, 2)
        }
        2 => ("BodyWeight", "SC-100", json!({ "bodyWeight": reading(tenths(dice, 450..1300), "kg") }), 1),
        3 => {
            let measurements = json!({
                "SpO2": reading(dice.random_range(88..100), "%"),
                "pulse": reading(dice.random_range(45..130), "bpm"),
            });
            ("SpO2", "OX-200", measurements, 2)
        }
        _ => ("BodyTemperature", "TM-7", json!({ "temperature": reading(tenths(dice, 355..405), "°C") }), 1),
    };
    if let Some(measurements) = measurements.as_object_mut() {
        measurements.insert("timestamp".to_owned(), text(measured).into());
    }
    let body = json!({
        "metadata": {
            "correlationId": uuid(dice),
            "receivedTime": text(measured + Duration::seconds(2)),
            "deviceGroups": [],
            "measurementType": measurement_type,
        },
        "device": {
            "id": "", "serialNumber": format!("SN-{device}"), "IMEI": device, "IMSI": device,
            "manufacturer": "Invented Devices", "model": model, "timezone": "Europe/Zurich",
        },
        "measurements": measurements,
    });
    Request { path: "/health-data/medisante/standard-json".to_owned(), body: body.to_string().into_bytes(), readings }
}

fn reading(value: impl Into<Value>, unit: &str) -> Value {
    json!({ "value": value.into(), "unit": unit, "isInRange": true })
}

fn fhir(dice: &mut StdRng, device: &str, measured: OffsetDateTime) -> Request {
    let (code, display, value, unit) = match dice.random_range(0..3) {
        0 => ("8867-4", "Heart rate", Value::from(dice.random_range(45..130)), "/min"),
        1 => ("29463-7", "Body weight", tenths(dice, 450..1300), "kg"),
        _ => ("8310-5", "Body temperature", tenths(dice, 355..405), "Cel"),
    };
    let body = json!({
        "resourceType": "Observation",
        "id": uuid(dice),
        "status": "final",
        "code": { "coding": [{ "system": "http://loinc.org", "code": code, "display": display }] },
        "effectiveDateTime": text(measured),
        "device": { "identifier": { "value": device } },
        "valueQuantity": { "value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit },
    });
    Request { path: "/health-data/medisante/fhir-json".to_owned(), body: body.to_string().into_bytes(), readings: 1 }
}

fn healthkit(dice: &mut StdRng, device: &str, measured: OffsetDateTime) -> Request {
    let samples = dice.random_range(1..=4_u64);
    let body: Vec<Value> = (0..samples)
        .map(|sample| {
            let (sample_type, value, unit) = match dice.random_range(0..4) {
                0 => ("HKQuantityTypeIdentifierHeartRate", Value::from(dice.random_range(45..150)), "count/min"),
                1 => ("HKQuantityTypeIdentifierStepCount", Value::from(dice.random_range(10..400)), "count"),
                2 => ("HKQuantityTypeIdentifierOxygenSaturation", Value::from(dice.random_range(90..100)), "%"),
                _ => ("HKQuantityTypeIdentifierBodyMass", tenths(dice, 450..1300), "kg"),
            };
            let start = measured - Duration::seconds(60 * i64::try_from(sample).unwrap_or(0));
            json!({
                "id": Uuid::parse_str(&uuid(dice)).unwrap_or_default().to_string().to_uppercase(),
                "type": sample_type, "value": value, "unit": unit, "deviceId": device,
                "sourceName": "Apple Watch", "sourceId": "com.apple.health",
                "startDate": text(start), "endDate": text(start),
            })
        })
        .collect();
    Request {
        path: "/health-data/healthkit/standard-json".to_owned(),
        body: Value::from(body).to_string().into_bytes(),
        readings: samples,
    }
}
