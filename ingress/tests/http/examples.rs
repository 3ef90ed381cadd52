//! Compares the OpenAPI document with the service: each example body is accepted, and each example of a refusal is the
//! service's real response.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{Method, Request},
};
use ingress::keys::Scope;
use schemas::format::Provider;
use serde_json::{Map, Value};

use crate::test_app::{Answer, LogBehaviour, TestApp, new_key};

const DEVICE: &str = "32d85aae-8b5c-5b42-addb-b2f932579bda";

fn document() -> Value {
    serde_json::from_str(ingress::openapi_json()).unwrap()
}

/// Returns all operations with their paths.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 2 * Provider::ALL.len() + 2);
    paths.iter().map(|(path, item)| (path.clone(), item["post"].clone())).collect()
}

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn path(documented: &str, format: &str) -> String {
    documented.replace("{format}", format).replace("{id}", DEVICE)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_body_is_accepted() {
    let mut sent = Vec::new();
    for (documented, operation) in operations(&document()) {
        let status = if documented.ends_with("unassign") { 204 } else { 200 };
        assert!(operation["responses"][status.to_string()].is_object(), "{documented}");
        for (content_type, content) in members(&operation["requestBody"]["content"]) {
            for (name, example) in members(&content["examples"]) {
                let body = match &example["value"] {
                    Value::String(text) => text.clone(),
                    json => json.to_string(),
                };
                let request = TestApp::new();
                let answer = request.post(&path(&documented, &name)).header("content-type", &content_type);
                let answer = answer.send(body).await;
                assert_eq!(answer.status, status, "{documented} {name}: {:?}", answer.body);
                sent.push(format!("{documented} {name}"));
            }
        }
    }
    // Each format is named in the path, and by the Content-Type if it has a media type of its own. Two are commands.
    let formats: Vec<_> = Provider::ALL.iter().flat_map(|provider| provider.formats()).collect();
    let by_content_type = formats.iter().filter(|format| format.media_type().is_some()).count();
    assert_eq!(sent.len(), formats.len() + by_content_type + 2, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_of_a_refusal_is_the_actual_response() {
    let document = document();
    for (documented, operation) in operations(&document) {
        let mut statuses = Vec::new();
        for (status, response) in members(&operation["responses"]) {
            let status: u16 = status.parse().unwrap();
            if status < 300 {
                continue;
            }
            statuses.push(status);
            let shared = response["$ref"].as_str().map(|name| document.pointer(&name[1..]).unwrap());
            let response = shared.unwrap_or(&response);
            let examples = members(&response["content"]["application/problem+json"]["examples"]);
            assert!(!examples.is_empty(), "{documented} {status}");
            for (name, example) in examples {
                let answer = provoke(&documented, &name).await;
                answer.problem(status);
                let mut said = answer.json();
                let mut expected = example["value"].clone();
                // The receipt differs each time.
                let receipts = [said.as_object_mut(), expected.as_object_mut()].map(|it| it.unwrap().remove("receipt"));
                assert_eq!(receipts[0].is_some(), receipts[1].is_some(), "{documented} {name}");
                assert_eq!(said, expected, "{documented} {name}");
                for header in members(&response["headers"]).keys() {
                    assert!(answer.headers.contains_key(header.to_lowercase()), "{documented} {name}: {header}");
                }
            }
        }
        let by_path: &[u16] = if documented.ends_with("{format}") { &[404] } else { &[] };
        let expected = [&[400, 401, 403], by_path, &[405, 408, 413, 415, 503]].concat();
        assert_eq!(statuses, expected, "{documented}");
    }
}

/// Sends the request whose response the example of this name shows.
async fn provoke(documented: &str, name: &str) -> Answer {
    let test_app = match name {
        "unavailable" => TestApp::with(LogBehaviour::Rejects, |_| {}),
        "body-timeout" => TestApp::with(LogBehaviour::Stores, |config| config.body_timeout = Duration::from_millis(50)),
        _ => TestApp::new(),
    };
    let path = match name {
        "unknown-format" => path(documented, "csv"),
        "parameter" => format!("{}?devceId=watch-1", path(documented, "standard-json")),
        _ => path(documented, "standard-json"),
    };
    let key = match name {
        "key-invalid" => "dm_wrong".to_owned(),
        "forbidden" => {
            let other = if documented.starts_with("/devices") { Scope::HealthDataWrite } else { Scope::DevicesWrite };
            let mut new = new_key("other");
            new.scopes = vec![other];
            test_app.key(new)
        }
        _ => test_app.key.clone(),
    };
    let mut request = Request::builder().uri(path);
    request = request.method(if name == "method-not-allowed" { Method::PUT } else { Method::POST });
    request = match name {
        "key-missing" => request,
        "subject-header" => request.header("x-api-key", key).header("x-patient-id", "patient-1"),
        "too-large" => request.header("x-api-key", key).header("content-length", "2097152"),
        "content-coding" => request.header("x-api-key", key).header("content-encoding", "br"),
        _ => request.header("x-api-key", key),
    };
    let content_type = if name == "content-type" { "text/plain" } else { "application/json" };
    Answer::of(test_app.app.clone(), request.header("content-type", content_type).body(body(name)).unwrap()).await
}

fn body(name: &str) -> Body {
    match name {
        "malformed" => Body::from("{\"deviceId\": \"watch-1\",}"),
        "wrong-shape" => Body::from("\"a text\""),
        "command" => {
            Body::from("{\"deviceId\": \"watch-1\", \"name\": \"Watch\", \"effectiveTo\": \"2025-06-01T08:00:00Z\"}")
        }
        "body-timeout" => Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>()),
        "body-broken-off" => {
            let pieces = [Ok(Bytes::from("{")), Err(std::io::Error::other("reset"))];
            Body::from_stream(futures_util::stream::iter(pieces))
        }
        "unavailable" => Body::from(schemas::example::ASSIGN),
        _ => Body::empty(),
    }
}
