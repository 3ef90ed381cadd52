//! Bodies that are well-formed but not of the shape of their format. The response names the place and the expected type, and no
//! body is refused from which the normalizer can produce a reading.

use std::{fs, path::Path};

use ingress::wellformed::{self, Malformed};
use schemas::format::{Format, Provider};

use crate::test_app::TestApp;

#[tokio::test]
async fn a_payload_of_the_wrong_shape_is_stored_and_the_response_names_the_field_and_the_type() {
    let test_app = TestApp::new();
    for (path, body, fault, said) in [
        ("medisante/json", "[\"CANARY\"]", "body -", "the top level of the body must be a JSON object"),
        (
            "medisante/json",
            "{\"measurements\":[\"CANARY\"]}",
            "body measurements",
            "measurements must be a JSON object",
        ),
        (
            "medisante/json",
            "{\"CANARY\":{}}",
            "body measurements",
            "measurements is required and must be a JSON object",
        ),
        ("medisante/json", "{\"measurements\":null}", "body measurements", "measurements must be a JSON object"),
        (
            "medisante/json",
            "{\"device\":\"CANARY\",\"measurements\":{}}",
            "body device",
            "device must be a JSON object",
        ),
        ("medisante/xml", "<CANARY>CANARY</CANARY>", "body measurements", "measurements is required"),
        ("healthkit/json", " \"CANARY\"", "body -", "must be a JSON array or a JSON object"),
        ("healthkit/health-auto-export", "{\"data\":[]}", "body data", "data must be a JSON object"),
        (
            "healthkit/fhir-json",
            "{\"CANARY\":1}",
            "body resourceType",
            "resourceType is required and must be a JSON string",
        ),
        ("medisante/fhir-json", "{\"resourceType\":{}}", "body resourceType", "resourceType must be a JSON string"),
        ("medisante/fhir-xml", "<CANARY/>", "body -", "must be an element in the namespace http://hl7.org/fhir"),
        ("healthkit/export-xml", "<CANARY/>", "body -", "must be the element HealthData"),
    ] {
        let answer = test_app.post(&format!("/health-data/{path}")).send(body).await;
        assert_eq!((answer.problem(400).as_str(), answer.faults()), ("malformed", vec![fault.to_owned()]), "{body}");
        let text = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(text.contains(said) && !text.contains("CANARY"), "{body}: {text}");
        answer.receipt();
        test_app.last(|record| assert_eq!(record.body, body.as_bytes()));
    }
    // The shapes of single items are checked by the normalizer: it rejects one item and stores the others.
    for (path, body) in [
        ("healthkit/json", "[1,{}]"),
        ("healthkit/health-auto-export", "{\"data\":{\"metrics\":5}}"),
        ("healthkit/health-auto-export", "{\"data\":null}"),
        ("medisante/json", "{\"metadata\":null,\"\\u006deasurements\":{\"a\":[]}}"),
        ("medisante/fhir-json", "{\"resourceType\":\"Patient\"}"),
        ("medisante/xml", "<x:a xmlns:x='urn:x'><x:measurements/></x:a>"),
        ("medisante/fhir-xml", "<f:Observation xmlns:f='http://hl7.org/fhir'/>"),
    ] {
        assert_eq!(test_app.post(&format!("/health-data/{path}")).send(body).await.status, 200, "{body}");
    }
}

/// Checks the golden pairs of the normalizer: each body, and the events that are produced from it.
#[test]
fn no_payload_that_the_normalizer_can_read_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../normalizer/tests/golden");
    let (mut bodies, mut refused) = (0, 0);
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some((case, extension)) = name.split_once(".input.") else { continue };
        let format = match (case.split('-').next().unwrap(), extension) {
            ("medisante", "json") => (Provider::Medisante, Format::StandardJson),
            ("medisante", _) => (Provider::Medisante, Format::StandardXml),
            ("healthkit", _) => (Provider::HealthKit, Format::StandardJson),
            ("health", _) => (Provider::HealthKit, Format::HealthAutoExport),
            ("export", _) => (Provider::HealthKit, Format::ExportXml),
            ("fhir", "json") => (Provider::Medisante, Format::FhirJson),
            ("fhir", _) => (Provider::Medisante, Format::FhirXml),
            ("assign" | "unassign", _) => continue,
            (other, _) => panic!("no format is known for {other}"),
        };
        bodies += 1;
        let body = fs::read(folder.join(&name)).unwrap();
        let looked = wellformed::payload(format.0, format.1, &body);
        if matches!(looked, Err(Malformed::WrongType { .. } | Malformed::Missing { .. })) {
            refused += 1;
            let events = fs::read_to_string(folder.join(format!("{case}.events.json"))).unwrap();
            let is_whole = events.lines().count() == 1 && events.contains("\"item\":null");
            assert!(is_whole && events.contains("\"reason\":\"unexpected-shape\""), "{case}: {looked:?} {events}");
        }
    }
    assert!(bodies > 150 && refused > 5, "{bodies} bodies, {refused} refused");
}
