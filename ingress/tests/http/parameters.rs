//! The query parameters of a request.

use schemas::{
    event::DeviceId,
    format::{Defaults, Provider},
    identity::device_key,
};

use crate::test_app::{MESSAGE, TestApp, new_key};

#[tokio::test]
async fn a_parameter_that_is_invalid_unknown_or_repeated_is_refused() {
    let test_app = TestApp::new();
    let long = "x".repeat(257);
    for (query, name) in [
        ("type=a&type=b", "type"),
        ("unit=%00", "unit"),
        ("unit=a%0ab", "unit"),
        ("deviceId=", "deviceId"),
        (&format!("type={long}"), "type"),
        ("type=%ff", "type"),
        ("deviceId=a%c3", "deviceId"),
        ("defaults=", "defaults"),
        ("defaults=react-native", "defaults"),
        ("types=a", "types"),
        ("x", "x"),
    ] {
        let answer = test_app.post(&format!("/health-data/healthkit/json?{query}")).send("[]").await;
        assert_eq!(answer.problem(400), "parameter", "{query}");
        assert_eq!(answer.faults(), [format!("query {name}")]);
    }
    let many: Vec<String> = (0..21).map(|number| format!("x{number}=1")).collect();
    let answer = test_app.post(&format!("/health-data/healthkit/json?{}", many.join("&"))).send("[]").await;
    assert_eq!((answer.problem(400), answer.faults().len()), ("parameter".to_owned(), 17));
    assert!(answer.json()["detail"].as_str().unwrap().contains("5 more parameters are unknown"));
    for command in ["/devices/assign?type=a", "/devices/x/unassign?force=true"] {
        assert_eq!(test_app.post(command).send("").await.problem(400), "parameter", "{command}");
    }
    assert_eq!(test_app.stored(), 0);
    // Any UTF-8 text without control characters is a valid name.
    for (query, text) in [("type=%c3%a4", "ä".to_owned()), (&format!("type={}", &long[1..]), "x".repeat(256))] {
        assert_eq!(test_app.post(&format!("/health-data/healthkit/json?{query}")).send("[]").await.status, 200);
        test_app.last(|record| assert_eq!(record.headers.sample_type.as_ref(), Some(&text)));
    }
}

#[tokio::test]
async fn all_faults_of_a_query_are_reported_at_once_with_the_nearest_name() {
    let test_app = TestApp::new();
    let long = "CANARY".repeat(50);
    let query = format!("devceId=CANARY&type=CANARY&type=CANARY&unit=&defaults=CANARY&devceId=again&deviceId={long}");
    let answer = test_app.post(&format!("/health-data/healthkit?{query}")).json().send("[]").await;
    assert_eq!(answer.problem(400), "parameter");
    assert_eq!(answer.faults(), ["query type", "query unit", "query deviceId", "query defaults", "query devceId"]);
    let text = answer.json()["message"].as_str().unwrap().to_owned();
    for part in [
        "type is given more than once",
        "unit is empty",
        "deviceId is longer than 256 bytes",
        "the known values are react-native-health",
        "devceId is unknown, the nearest known parameter is deviceId",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("CANARY"), "{text}");
    assert_eq!(test_app.stored(), 0);
}

#[tokio::test]
async fn a_parameter_name_that_may_be_content_is_not_repeated() {
    let test_app = TestApp::new();
    for query in ["{%22value%22:5.5}", "19840101-1234", "=5.5", &"n".repeat(1_000)] {
        let answer = test_app.post(&format!("/health-data/healthkit/json?{query}")).send("[]").await;
        assert_eq!((answer.problem(400), answer.faults()), ("parameter".to_owned(), vec!["query -".to_owned()]));
        assert!(!String::from_utf8_lossy(&answer.body).contains(query), "{query}");
    }
    let many: Vec<String> =
        (0..1_500).map(|number| format!("p{}", "x".repeat(number % 60) + &number.to_string())).collect();
    let answer = test_app.post(&format!("/health-data/healthkit/json?{}", many.join("&"))).send("[]").await;
    assert_eq!((answer.problem(400), answer.faults().len()), ("parameter".to_owned(), 17));
}

#[tokio::test]
async fn a_path_accepts_only_the_parameters_that_have_an_effect() {
    let test_app = TestApp::new();
    let id = device_key(Provider::Medisante, &DeviceId::parse("m").unwrap());
    for parameter in ["type", "unit", "deviceId", "defaults"] {
        let query = format!("{parameter}={}", Defaults::ReactNativeHealth.as_str());
        for (path, body, known) in [
            ("/health-data/healthkit/json".to_owned(), "[]", ["type", "unit", "deviceId", "defaults"].as_slice()),
            ("/health-data/medisante/json".to_owned(), MESSAGE, &["deviceId"]),
            ("/devices/assign".to_owned(), schemas::example::ASSIGN, &[]),
            (format!("/devices/{id}/unassign"), "", &[]),
        ] {
            let answer = test_app.post(&format!("{path}?{query}")).send(body).await;
            assert_eq!(answer.status.is_success(), known.contains(&parameter), "{path}?{query}");
        }
    }
}

#[tokio::test]
async fn the_defaults_of_the_request_or_of_the_key_are_stored_with_a_healthkit_payload() {
    let test_app = TestApp::new();
    let mut declaring = new_key("app");
    declaring.defaults = Some("react-native-health".to_owned());
    let declaring = test_app.key(declaring);
    let declared = Some(Defaults::ReactNativeHealth);
    for (key, path, expected) in [
        (&test_app.key, "healthkit/json", None),
        (&test_app.key, "healthkit/json?defaults=react-native-health", declared),
        (&declaring, "healthkit/json", declared),
        (&declaring, "healthkit/json?defaults=react-native-health", declared),
        (&declaring, "medisante/json", None),
    ] {
        let answer = test_app.bare(&format!("/health-data/{path}")).header("x-api-key", key).send(MESSAGE).await;
        assert_eq!(answer.status, 200, "{path}");
        test_app.last(|record| assert_eq!(record.headers.defaults, expected, "{path}"));
    }
}
