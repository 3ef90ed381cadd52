//! The responses to accepted and malformed payloads, and the records that are stored.

use schemas::{
    format::{Format, RawTopic},
    raw::RecordKind,
    receipt::ItemPosition,
};

use crate::test_app::{MESSAGE, TestApp, content_hmac, partition};

#[tokio::test]
async fn a_medisante_payload_is_stored_byte_for_byte_and_answered_with_its_receipt() {
    let test_app = TestApp::new();
    let body = "{ \"metadata\" : {\"correlationId\":\"one\"}, \"measurements\": {}}\n";
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = test_app
        .post("/health-data/medisante/standard-json?deviceId=d%201")
        .header("content-type", "application/json; charset=utf-8")
        .header("x-correlation-id", "abc-1")
        .header("traceparent", traceparent)
        .send(body)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-correlation-id"], "abc-1");
    let partition = partition(body.as_bytes());
    let expected = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 0, partition, offset: 40, item: 0 };
    assert_eq!(answer.position(), expected);
    test_app.last(|record| {
        assert_eq!(record.topic, RawTopic::Medisante);
        assert_eq!(record.body, body.as_bytes());
        assert_eq!((record.key.as_deref(), record.partition), (None, Some(partition)));
        let headers = &record.headers;
        assert_eq!(headers.kind, RecordKind::Payload(Format::StandardJson));
        assert_eq!(headers.content_hmac, content_hmac(body.as_bytes()));
        assert_eq!(headers.content_type.as_deref(), Some("application/json; charset=utf-8"));
        assert_eq!(headers.source.as_str(), "portal");
        assert!(headers.credential.starts_with("key-") && headers.subject.is_none() && headers.key_id.is_none());
        assert_eq!(headers.correlation_id, "abc-1");
        assert_eq!(headers.traceparent.as_deref(), Some(traceparent));
        assert_eq!(headers.device_id.as_deref(), Some("d 1"));
        assert!(headers.sample_type.is_none() && headers.unit.is_none() && headers.defaults.is_none());
        assert!(headers.providers.is_empty());
    });
}

#[tokio::test]
async fn equal_payloads_go_to_one_partition_whatever_the_key_and_the_content_coding() {
    let test_app = TestApp::new();
    let other = test_app.key(crate::test_app::new_key("other"));
    let expected: Vec<_> =
        ["{\"a\":1}", "{\"a\":1}", "{\"a\":2}"].into_iter().map(|body| partition(body.as_bytes())).collect();
    assert!(expected[0] == expected[1] && expected[1] != expected[2]);
    let zstd = zstd::encode_all(b"{\"a\":1}".as_slice(), 1).unwrap();
    let path = "/health-data/healthkit/json";
    test_app.post(path).send("{\"a\":1}").await;
    test_app.post(path).header("content-encoding", "zstd").send(zstd).await;
    test_app.bare(path).header("x-api-key", &other).send("{\"a\":1}").await;
    test_app.post(path).send("{\"a\":2}").await;
    let records = test_app.log.records.lock().unwrap();
    let partitions: Vec<_> = records.iter().map(|record| record.partition.unwrap()).collect();
    assert_eq!(partitions, [expected[0], expected[0], expected[0], expected[2]]);
}

#[tokio::test]
async fn a_healthkit_array_gets_one_receipt_for_each_sample() {
    let test_app = TestApp::new();
    for (count, body) in [(0, "[]".to_owned()), (3, "[{},{},{}]".to_owned()), (1_500, many(1_500))] {
        let answer = test_app.post("/health-data/healthkit").json().send(body).await;
        assert_eq!(answer.status, 200);
        let ids = answer.json();
        let ids = ids.as_array().unwrap();
        assert_eq!(ids.len(), count);
        for (item, id) in ids.iter().enumerate() {
            let position = crate::test_app::receipt_key().read(id["_id"].as_str().unwrap()).unwrap();
            assert_eq!(position.item as usize, item);
            assert_eq!(position.topic, RawTopic::HealthKit);
        }
    }
    let one = test_app.post("/health-data/healthkit/standard-json").send("{\"id\":\"a\"}").await;
    assert_eq!(one.position().item, 0);
    let bundle = minimal(Format::FhirJson).replace('}', ",\"entry\":[{},{}]}");
    let upload = test_app.post("/health-data/healthkit/fhir-json").send(bundle).await;
    assert_eq!(upload.position().item, 0, "only a standard-json array has a receipt for each item");
}

/// Returns a minimal body of a format that is accepted from both providers.
fn minimal(format: Format) -> &'static str {
    match format {
        Format::StandardJson => MESSAGE,
        Format::StandardXml => "<a><measurements/></a>",
        Format::FhirJson => "{\"resourceType\":\"Bundle\"}",
        Format::FhirXml => "<f:Bundle xmlns:f=\"http://hl7.org/fhir\"/>",
        Format::HealthAutoExport => "{}",
        Format::ExportXml => "<HealthData/>",
    }
}

fn many(count: usize) -> String {
    format!("[{}]", vec!["{}"; count].join(","))
}

#[tokio::test]
async fn the_content_type_determines_the_format_if_the_path_names_none() {
    let test_app = TestApp::new();
    for (provider, content_type, format) in [
        ("medisante", "application/json", Format::StandardJson),
        ("medisante", "Application/FHIR+JSON; charset=utf-8", Format::FhirJson),
        ("medisante", "application/fhir+xml", Format::FhirXml),
        ("medisante", "text/xml", Format::StandardXml),
        ("healthkit", "application/xml", Format::ExportXml),
        ("healthkit", "application/json", Format::StandardJson),
    ] {
        let body = minimal(format);
        let path = format!("/health-data/{provider}");
        assert_eq!(test_app.post(&path).header("content-type", content_type).send(body).await.status, 200);
        test_app.last(|record| assert_eq!(record.headers.kind, RecordKind::Payload(format)));
    }
    for content_type in ["text/plain", "application/octet-stream", "application/jsonx"] {
        let answer = test_app.post("/health-data/medisante").header("content-type", content_type).send("{}").await;
        assert_eq!(answer.problem(415), "content-type");
    }
    assert_eq!(test_app.post("/health-data/medisante").send("{}").await.problem(415), "content-type");
}

#[tokio::test]
async fn the_path_determines_the_format_by_name_or_alias() {
    let test_app = TestApp::new();
    for (path, format) in [
        ("medisante/json", Format::StandardJson),
        ("medisante/xml", Format::StandardXml),
        ("medisante/fhir-xml", Format::FhirXml),
        ("healthkit/health-auto-export", Format::HealthAutoExport),
        ("healthkit/export-xml", Format::ExportXml),
    ] {
        let body = minimal(format);
        assert_eq!(test_app.post(&format!("/health-data/{path}")).send(body).await.status, 200, "{path}");
        test_app.last(|record| assert_eq!(record.headers.kind, RecordKind::Payload(format)));
    }
    for path in ["medisante/csv", "medisante/export-xml", "healthkit/xml", "healthkit/standard-xml", "medisante/JSON"] {
        let answer = test_app.post(&format!("/health-data/{path}")).json().send("{}").await;
        assert_eq!(answer.problem(404), "unknown-format");
        assert!(answer.json()["detail"].as_str().unwrap().contains("standard-json"), "the response lists the formats");
    }
}

#[tokio::test]
async fn a_path_that_is_not_utf8_is_refused_like_any_unknown_one() {
    let test_app = TestApp::new();
    assert_eq!(test_app.post("/health-data/medisante/%FF").json().send("{}").await.problem(404), "unknown-format");
    assert_eq!(test_app.post("/health-data/healthkit/%FF").json().send("[]").await.problem(404), "unknown-format");
    let answer = test_app.post("/devices/%FF/unassign").send("").await;
    assert_eq!((answer.problem(400), answer.faults()), ("malformed".to_owned(), vec!["path id".to_owned()]));
    for path in ["/health-data/medisante/%FF", "/devices/%FF/unassign"] {
        assert_eq!(test_app.bare(path).send("{}").await.status, 401);
    }
}

#[tokio::test]
async fn a_malformed_body_is_stored_and_answered_with_its_receipt() {
    let test_app = TestApp::new();
    let deep = "[".repeat(100_000);
    let bodies: [(&str, &[u8]); 12] = [
        ("medisante/json", b"{\"a\":"),
        ("medisante/json", b""),
        ("medisante/json", b"{'a':1}"),
        ("medisante/json", b"{\"a\":\"\xff\"}"),
        ("medisante/json", b"{\"a\":\"\\ud800\"}"),
        ("medisante/json", b"{\"a\":1} // c"),
        ("medisante/json", deep.as_bytes()),
        ("medisante/xml", b"<a><b></a>"),
        ("medisante/xml", b"<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///x\">]><a>&x;</a>"),
        ("healthkit/fhir-xml", b"<a>&undefined;</a>"),
        ("healthkit/json", b"[{},]"),
        ("healthkit/export-xml", b"not xml"),
    ];
    for (number, (path, body)) in bodies.into_iter().enumerate() {
        let answer = test_app.post(&format!("/health-data/{path}")).send(body.to_vec()).await;
        assert_eq!(answer.problem(400), "malformed");
        assert_eq!(answer.receipt().offset, 40 + i64::try_from(number).unwrap());
        test_app.last(|record| assert_eq!(record.body, body));
    }
    let many = many(100_001);
    let answer = test_app.post("/health-data/healthkit").json().send(many).await;
    assert_eq!(answer.problem(400), "malformed");
    assert_eq!(test_app.stored(), 13);
}

#[tokio::test]
async fn the_internal_document_type_of_an_export_is_skipped() {
    let test_app = TestApp::new();
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE HealthData [\n<!ELEMENT HealthData (R)*>\n]>\n<HealthData><R/></HealthData>";
    assert_eq!(test_app.post("/health-data/healthkit/export-xml").send(body).await.status, 200);
    assert_eq!(test_app.post("/health-data/healthkit/fhir-xml").send(body).await.problem(400), "malformed");
}

#[tokio::test]
async fn an_invalid_correlation_id_is_replaced_and_an_invalid_traceparent_is_left_out() {
    let test_app = TestApp::new();
    let long = "a".repeat(129);
    for sent in ["", "with space", &long] {
        let answer = test_app
            .post("/health-data/medisante/json")
            .header("x-correlation-id", sent)
            .header("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01")
            .send(MESSAGE)
            .await;
        let made = answer.headers["x-correlation-id"].to_str().unwrap().to_owned();
        assert!(uuid::Uuid::try_parse(&made).is_ok());
        test_app.last(|record| {
            assert_eq!(record.headers.correlation_id, made);
            assert!(record.headers.traceparent.is_none());
        });
    }
    // One fault each: version, a trace or parent of zeros, a letter that is not hexadecimal, a length, a fifth part.
    for invalid in [
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-02",
    ] {
        assert_eq!(
            test_app.post("/health-data/medisante/json").header("traceparent", invalid).send(MESSAGE).await.status,
            200
        );
        test_app.last(|record| assert!(record.headers.traceparent.is_none(), "{invalid}"));
    }
}
