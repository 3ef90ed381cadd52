//! One example body for each provider and format and for each device command. The format pages and the API description show
//! these bodies, and tests send and map each of them.

use crate::format::{Format, Provider};

/// The body of a request with readings, and the other parts of that request.
pub struct Example {
    /// The provider in the path.
    pub provider: Provider,
    /// The format in the path.
    pub format: Format,
    /// The request's `Content-Type`.
    pub content_type: &'static str,
    /// The request's query parameters.
    pub query: &'static [(&'static str, &'static str)],
    /// The file below `schemas/examples`.
    pub file: &'static str,
    /// The body.
    pub text: &'static str,
}

/// The body of `POST /devices/assign`.
pub const ASSIGN: &str = include_str!("../examples/devices-assign.json");
/// The body of `POST /devices/{id}/unassign`, which may also be empty.
pub const UNASSIGN: &str = include_str!("../examples/devices-unassign.json");

macro_rules! example {
    ($provider:ident, $format:ident, $content_type:literal, $query:expr, $file:literal) => {
        Example {
            provider: Provider::$provider,
            format: Format::$format,
            content_type: $content_type,
            query: $query,
            file: $file,
            text: include_str!(concat!("../examples/", $file)),
        }
    };
}

/// The device of all samples. An app names it in the request, because HealthKit's samples do not name a device.
const WATCH: &[(&str, &str)] = &[("deviceId", "watch-1")];

/// All example bodies with readings, one for each provider and format.
pub const PAYLOADS: [Example; 9] = [
    example!(Medisante, StandardJson, "application/json", &[], "medisante-standard-json.json"),
    example!(Medisante, StandardXml, "application/xml", &[], "medisante-standard-xml.xml"),
    example!(Medisante, FhirJson, "application/fhir+json", &[], "medisante-fhir-json.json"),
    example!(Medisante, FhirXml, "application/fhir+xml", &[], "medisante-fhir-xml.xml"),
    example!(HealthKit, StandardJson, "application/json", WATCH, "healthkit-standard-json.json"),
    example!(HealthKit, FhirJson, "application/fhir+json", WATCH, "healthkit-fhir-json.json"),
    example!(HealthKit, FhirXml, "application/fhir+xml", WATCH, "healthkit-fhir-xml.xml"),
    example!(HealthKit, HealthAutoExport, "application/json", WATCH, "healthkit-health-auto-export.json"),
    example!(HealthKit, ExportXml, "application/xml", WATCH, "healthkit-export-xml.xml"),
];
