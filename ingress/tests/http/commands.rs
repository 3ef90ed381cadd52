//! Device commands.

use schemas::{
    event::DeviceId,
    format::{Provider, RawTopic},
    identity::device_key,
    limit::DEPTH_MAX,
    raw::RecordKind,
};
use serde_json::{Value, json};

use crate::test_app::{KEYED_PARTITION, TestApp, content_hmac, new_key, partition};

fn command() -> Value {
    json!({ "deviceId": "apple-77", "deviceType": "Wearable", "name": "Watch", "deviceProvider": "apple-healthkit",
            "assignedPatientId": "patient-9" })
}

#[tokio::test]
async fn an_assign_command_returns_the_device_id_and_has_it_as_kafka_key() {
    let test_app = TestApp::new();
    let expected = device_key(Provider::HealthKit, &DeviceId::parse("apple-77").unwrap()).to_string();
    let mut body = command();
    for provider in ["apple-healthkit", "healthkit"] {
        body["deviceProvider"] = json!(provider);
        let text = body.to_string();
        let answer = test_app.post("/devices/assign").json().send(text.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({ "_id": expected })));
        let receipt = answer.command_receipt();
        assert_eq!((receipt.topic, receipt.partition), (RawTopic::Devices, KEYED_PARTITION));
        assert_eq!(receipt.offset, 39 + i64::try_from(test_app.stored()).unwrap());
        test_app.last(|record| {
            assert_eq!((record.topic, record.headers.kind), (RawTopic::Devices, RecordKind::Assign));
            assert_eq!((record.key.as_ref(), record.body.as_slice()), (Some(&expected), text.as_bytes()));
            assert_eq!(record.headers.content_hmac, content_hmac(text.as_bytes()));
        });
    }
    body["serialNumber"] = json!("s");
    body["features"] = json!(["ecg"]);
    body["effectiveFrom"] = json!("2024-01-02T03:04:05+01:00");
    assert_eq!(test_app.post("/devices/assign").send(body.to_string()).await.status, 200);
}

#[tokio::test]
async fn an_invalid_assign_command_is_stored_and_the_response_names_the_field() {
    let test_app = TestApp::new();
    for (field, value) in [
        ("deviceId", json!("")),
        ("deviceId", json!(5)),
        ("deviceId", Value::Null),
        ("deviceType", Value::Null),
        ("name", json!("x".repeat(257))),
        ("deviceProvider", json!("other")),
        ("assignedPatientId", json!("a\u{7}b")),
        ("serialNumber", json!(1)),
        ("effectiveFrom", json!("yesterday")),
        ("effectiveFrom", json!("2024-01-02")),
        ("effectiveFrom", json!("0000-01-01T00:00:00Z")),
        ("effectiveFrom", json!("0001-01-01T00:00:00+14:00")),
    ] {
        let mut body = command();
        body[field] = value;
        let text = body.to_string();
        let answer = test_app.post("/devices/assign").send(text.clone()).await;
        assert_eq!(answer.problem(400), "malformed");
        assert_eq!(answer.faults(), [format!("body {field}")]);
        assert!(answer.json()["message"].as_str().unwrap().contains(&format!(" {field} ")), "{field}");
        assert!(!answer.headers.contains_key("receipt"), "a refusal contains its receipt in the body");
        assert_eq!(answer.receipt().topic, RawTopic::Devices);
        test_app.last(|record| {
            // The device is unknown, so the command is partitioned by its content.
            assert_eq!((record.key.as_deref(), record.partition), (None, Some(partition(text.as_bytes()))));
            assert_eq!(record.headers.content_hmac, content_hmac(text.as_bytes()));
        });
    }
    for body in ["[]", "null", "\"deviceId\""] {
        let answer = test_app.post("/devices/assign").send(body).await;
        assert_eq!((answer.problem(400), answer.faults()), ("malformed".to_owned(), vec!["body -".to_owned()]));
    }
    for body in ["", "{"] {
        assert_eq!(test_app.post("/devices/assign").send(body).await.problem(400), "malformed");
    }
}

#[tokio::test]
async fn an_unassign_command_is_answered_without_a_body() {
    let test_app = TestApp::new();
    let id = device_key(Provider::Medisante, &DeviceId::parse("m").unwrap()).to_string();
    let path = format!("/devices/{id}/unassign");
    for body in ["", "{}", " ", "{\"effectiveFrom\":\"2024-01-02T03:04:05Z\"}"] {
        let answer = test_app.post(&path).send(body).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
        assert_eq!(answer.command_receipt().offset, 39 + i64::try_from(test_app.stored()).unwrap());
        test_app.last(|record| {
            assert_eq!((record.topic, record.headers.kind), (RawTopic::Devices, RecordKind::Unassign));
            assert_eq!((record.key.as_ref(), record.headers.device_id.as_ref()), (Some(&id), Some(&id)));
            assert_eq!(
                (record.body.as_slice(), &record.headers.content_hmac),
                (body.as_bytes(), &content_hmac(&record.body))
            );
        });
    }
    for body in ["[]", "{\"effectiveFrom\":1}", "{"] {
        assert_eq!(test_app.post(&path).send(body).await.problem(400), "malformed");
        test_app.last(|record| assert_eq!(record.key.as_ref(), Some(&id)));
    }
    let answer = test_app.post("/devices/not-an-id/unassign").send("").await;
    assert_eq!((answer.problem(400), answer.faults()), ("malformed".to_owned(), vec!["path id".to_owned()]));
    test_app.last(|record| {
        assert_eq!((record.key.as_deref(), record.partition), (None, Some(partition(b""))));
        assert_eq!(record.headers.device_id.as_deref(), Some("not-an-id"));
    });
}

/// The depth is limited before the body is parsed.
#[tokio::test]
async fn a_command_that_is_nested_too_deeply_is_refused() {
    let test_app = TestApp::new();
    let nested = |depth| format!("{{\"name\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let answer = test_app.post("/devices/assign").send(nested(DEPTH_MAX)).await;
    assert_eq!(answer.problem(400), "malformed");
    let text = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(text.contains("nested deeper than"), "{text}");
}

#[tokio::test]
async fn a_key_for_one_provider_cannot_assign_a_device_of_another() {
    let test_app = TestApp::new();
    let mut new = new_key("medisante only");
    new.providers = Some(vec!["medisante".to_owned()]);
    let key = test_app.key(new);
    let answer = test_app.bare("/devices/assign").header("x-api-key", &key).send(command().to_string()).await;
    assert_eq!(answer.problem(403), "forbidden");
    assert_eq!(test_app.stored(), 0);
}

#[tokio::test]
async fn all_faults_of_a_command_are_reported_at_once_with_the_exact_names() {
    let test_app = TestApp::new();
    let body = json!({ "deviceId": "CANARY", "deviceTypo": "CANARY", "name": 5, "effectiveTo": "CANARY" });
    let answer = test_app.post("/devices/assign").send(body.to_string()).await;
    assert_eq!(answer.problem(400), "malformed");
    let expected = ["name", "deviceType", "deviceProvider", "assignedPatientId", "deviceTypo", "effectiveTo"];
    let mut faults = answer.faults();
    let mut expected: Vec<String> = expected.iter().map(|name| format!("body {name}")).collect();
    faults.sort();
    expected.sort();
    assert_eq!(faults, expected);
    let problem = answer.json();
    let text = problem["message"].as_str().unwrap();
    for part in [
        "deviceType is required",
        "assignedPatientId is required",
        "name must be",
        "nearest known member is deviceType",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("effectiveTo is unknown, the nearest known member is effectiveFrom"), "{text}");
    assert!(!text.contains("CANARY"));
    assert_eq!(answer.receipt().topic, RawTopic::Devices);
    test_app.last(|record| assert_eq!(record.body, body.to_string().as_bytes()));

    let answer =
        test_app.post("/devices/not-an-id/unassign").send("{\"effectiveForm\":\"2024-01-02T03:04:05Z\"}").await;
    assert_eq!(answer.problem(400), "malformed");
    assert_eq!(answer.faults(), ["path id", "body effectiveForm"]);
}

#[tokio::test]
async fn a_command_record_has_the_providers_of_its_key() {
    let test_app = TestApp::new();
    let id = device_key(Provider::Medisante, &DeviceId::parse("m").unwrap());
    let unassign = format!("/devices/{id}/unassign");
    let mut bound = new_key("medisante only");
    bound.providers = Some(vec!["medisante".to_owned()]);
    let bound = test_app.key(bound);
    let mut cuff = command();
    cuff["deviceProvider"] = json!("medisante");
    for (path, body, status) in [("/devices/assign", cuff.to_string(), 200), (&unassign, String::new(), 204)] {
        assert_eq!(test_app.bare(path).header("x-api-key", &bound).send(body.clone()).await.status, status);
        test_app.last(|record| assert_eq!(record.headers.providers, [Provider::Medisante]));
        assert_eq!(test_app.post(path).send(body).await.status, status);
        test_app.last(|record| assert!(record.headers.providers.is_empty(), "the key is not restricted to providers"));
    }
    // An empty list permits no provider. It must not be mistaken for a missing list.
    let mut none = new_key("none");
    none.providers = Some(Vec::new());
    let none = test_app.key(none);
    assert_eq!(test_app.bare(&unassign).header("x-api-key", &none).send("").await.problem(403), "forbidden");
}
