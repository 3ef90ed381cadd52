//! Paths, methods and the OpenAPI document.

use axum::{
    body::Body,
    http::{Method, Request},
};

use crate::test_app::{Answer, LogBehaviour, TestApp};

async fn request(test_app: &TestApp, method: Method, path: &str) -> Answer {
    Answer::of(test_app.app.clone(), Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn unknown_paths_and_methods_get_a_problem_document() {
    let test_app = TestApp::new();
    for path in ["/", "/health-data", "/health-data/fitbit", "/health-data/medisante/json/x", "/devices", "/metrics"] {
        let answer = request(&test_app, Method::GET, path).await;
        assert_eq!(answer.problem(404), "unknown-path", "{path}");
        assert!(answer.headers.contains_key("x-correlation-id"));
    }
    assert_eq!(test_app.post("/health-data/fitbit").send("{}").await.problem(404), "unknown-path");
    for path in ["/health-data/medisante", "/health-data/healthkit/json", "/devices/assign", "/devices/x/unassign"] {
        let answer = request(&test_app, Method::PUT, path).await;
        assert_eq!(answer.problem(405), "method-not-allowed", "{path}");
        assert!(answer.headers["allow"].to_str().unwrap().contains("POST"));
    }
}

#[tokio::test]
async fn the_api_description_has_all_paths() {
    let test_app = TestApp::new();
    let document = request(&test_app, Method::GET, "/openapi.json").await;
    assert_eq!(document.status, 200);
    let document = document.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    for path in [
        "/devices/assign",
        "/devices/{id}/unassign",
        "/health-data/healthkit",
        "/health-data/healthkit/{format}",
        "/health-data/medisante",
        "/health-data/medisante/{format}",
    ] {
        assert!(paths.iter().any(|found| found == path), "{path}");
        assert!(document["paths"][path]["post"]["responses"]["503"].is_object());
        assert_eq!(document["paths"][path]["post"]["security"].as_array().unwrap().len(), 2);
    }
    assert_eq!(
        document.to_string(),
        serde_json::from_str::<serde_json::Value>(ingress::openapi_json()).unwrap().to_string()
    );
}

#[tokio::test]
async fn the_api_description_refuses_query_parameters() {
    let test_app = TestApp::new();
    let answer = request(&test_app, Method::GET, "/openapi.json?version=1").await;
    assert_eq!((answer.problem(400), answer.faults()), ("parameter".to_owned(), vec!["query version".to_owned()]));
}

#[tokio::test]
async fn the_docs_page_loads_nothing_from_other_hosts() {
    let test_app = TestApp::new();
    assert_eq!(request(&test_app, Method::GET, "/docs").await.headers["location"], "/docs/");
    let page = request(&test_app, Method::GET, "/docs/").await;
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert_eq!(page.status, 200);
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("\"//"));
    let references: Vec<_> = html.split(['"', '\'']).filter(|part| part.starts_with("./")).collect();
    assert!(references.len() >= 3);
    assert!(html.contains("<title>Device Manager API</title>"));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("http"), "{policy}");
    for other in ["index.css", "swagger-ui-standalone-preset.js", "swagger-initializer.js", "favicon-32x32.png"] {
        assert_eq!(request(&test_app, Method::GET, &format!("/docs/{other}")).await.status, 404, "{other}");
    }
    let document = request(&test_app, Method::GET, "/openapi.json").await.json();
    assert_eq!(document["info"]["title"], "Device Manager API");
    assert!(document["info"]["license"]["url"].is_null() && document["info"]["license"]["identifier"].is_null());
    for reference in references {
        let asset = request(&test_app, Method::GET, &format!("/docs/{}", &reference[2..])).await;
        assert_eq!(asset.status, 200, "{reference}");
        assert!(!asset.body.is_empty());
    }
}

#[tokio::test]
async fn the_docs_page_is_served_only_on_loopback_unless_enabled() {
    for (address, enabled, status) in [
        ([127, 0, 0, 2], false, 200),
        ([127, 0, 0, 1], true, 200),
        ([0, 0, 0, 0], false, 404),
        ([192, 0, 2, 1], false, 404),
        ([192, 0, 2, 1], true, 200),
    ] {
        let test_app = TestApp::with(LogBehaviour::Stores, |config| {
            config.address = (address, 0).into();
            config.docs_enabled = enabled;
        });
        for path in ["/docs/", "/docs/swagger-ui-bundle.js"] {
            assert_eq!(request(&test_app, Method::GET, path).await.status, status, "{path} {address:?} {enabled}");
        }
        assert_eq!(request(&test_app, Method::GET, "/openapi.json").await.status, 200);
    }
}
