//! The shared parts of HTTP services, tested without a real service.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::FromRequestParts,
    http::{HeaderMap, Request, StatusCode},
    response::IntoResponse,
};
use futures_util::stream;
use serde_json::{Value, json};
use service::http::{
    body::drain,
    principal::{Authenticate, Principal, api_key},
    problem::{Fault, Location, Problem, ProblemType},
};

const NO_SESSION: ProblemType =
    ProblemType { word: "no-session", status: StatusCode::UNAUTHORIZED, title: "No session" };

/// A service whose principals are sessions, not holders of API keys.
struct Sessions;

impl Authenticate for Sessions {
    type Principal = String;
    type Refusal = Problem;

    fn authenticate(&self, headers: &HeaderMap) -> Result<String, Problem> {
        let session = headers.get("cookie").and_then(|value| value.to_str().ok()).map(str::to_owned);
        session.ok_or_else(|| Problem::new(NO_SESSION, "Log in.".to_owned()))
    }
}

async fn principal(request: axum::http::request::Builder) -> Result<Principal<String>, Problem> {
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    Principal::from_request_parts(&mut parts, &Sessions).await
}

async fn document(problem: Problem) -> (StatusCode, HeaderMap, Value) {
    let (parts, body) = problem.into_response().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn of_a_refused_body_at_most_4_mib_are_read() {
    const FRAME: usize = 16 * 1024;
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let frames = std::iter::repeat_with(move || {
        count.fetch_add(FRAME, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from_static(&[0; FRAME]))
    });
    drain(Body::from_stream(stream::iter(frames))).await;
    // The frame with which the limit is exceeded has been read too.
    assert_eq!(read.load(Ordering::Relaxed), 4 * 1024 * 1024 + FRAME);
}

#[tokio::test]
async fn a_service_determines_its_own_principals() {
    let Ok(Principal(session)) = principal(Request::get("/").header("cookie", "s=1")).await else {
        panic!("the session is known");
    };
    assert_eq!(session, "s=1");
    let refused = principal(Request::get("/")).await.err().unwrap();
    let (status, headers, body) = document(refused).await;
    assert_eq!(status, 401);
    assert_eq!(headers["content-type"], "application/problem+json");
    assert!(headers.contains_key("www-authenticate"));
    let expected = json!({
        "type": "urn:device-manager:problem:no-session", "title": "No session", "status": 401, "statusCode": "401",
        "error": "Unauthorized", "detail": "Log in.", "message": "Log in.",
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn the_status_is_also_in_the_fields_that_existing_clients_read() {
    for (status, words) in [
        (StatusCode::BAD_REQUEST, "Bad request"),
        (StatusCode::UNAUTHORIZED, "Unauthorized"),
        (StatusCode::FORBIDDEN, "Forbidden"),
        (StatusCode::NOT_FOUND, "Not found"),
        (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
        (StatusCode::REQUEST_TIMEOUT, "Request timeout"),
        (StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type"),
        (StatusCode::SERVICE_UNAVAILABLE, "Service unavailable"),
    ] {
        let (answered, headers, body) =
            document(Problem::new(ProblemType { status, ..NO_SESSION }, String::new())).await;
        assert_eq!((answered, body["error"].as_str()), (status, Some(words)));
        assert_eq!(headers.contains_key("retry-after"), status == 503, "{status}");
        assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{status}");
    }
}

#[tokio::test]
async fn a_problem_lists_its_faults_and_its_receipt() {
    let fault = Fault::new(Some("deviceId"), Location::Query, "deviceId is given more than once".to_owned());
    let problem = Problem::new(NO_SESSION, String::new()).with_errors(vec![fault]).with_receipt(Some("r-1".to_owned()));
    let (_, _, body) = document(problem).await;
    let fault = json!({"name": "deviceId", "in": "query", "detail": "deviceId is given more than once"});
    assert_eq!((&body["errors"], &body["receipt"]), (&json!([fault]), &json!("r-1")));
}

#[test]
fn a_request_must_have_exactly_one_api_key() {
    let key = |headers: &[(&'static str, &'static str)]| {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        api_key(&headers).map(<[u8]>::to_vec)
    };
    assert_eq!(key(&[("x-api-key", "k")]), Some(b"k".to_vec()));
    assert_eq!(key(&[("authorization", "bearer  k ")]), Some(b"k".to_vec()));
    for none in [
        &[][..],
        &[("x-api-key", "")],
        &[("x-api-key", "k"), ("authorization", "Bearer k")],
        &[("authorization", "Basic k")],
        &[("authorization", "Bearer ")],
    ] {
        assert_eq!(key(none), None, "{none:?}");
    }
    let mut twice = HeaderMap::new();
    twice.append("x-api-key", "k".parse().unwrap());
    twice.append("x-api-key", "k".parse().unwrap());
    assert_eq!(api_key(&twice), None);
}
