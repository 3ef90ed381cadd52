//! The management port, over a real connection.

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use service::{health::Health, management};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn ready_answers_503_while_a_stage_waits_and_200_when_all_work() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (health, shutdown) = (Health::new(), CancellationToken::new());
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let served = tokio::spawn(management::serve(listener, health.clone(), metrics, shutdown.clone()));
    let stage = |ready, degraded: Option<&str>, waiting: Option<&str>| json!({ "ready": ready, "degraded": degraded, "waiting": waiting, "details": { "group-protocol": "classic" } });

    assert_eq!(get(port, "/live").await, (200, "alive\n".to_owned()));
    assert_eq!(
        ready(port).await,
        (503, json!({ "ready": false, "stages": {} })),
        "a process without a stage is not ready"
    );
    let (sink, ingress) = (health.stage("sink"), health.stage("ingress"));
    for one in [&sink, &ingress] {
        one.detail("group-protocol", "classic");
        one.ready();
    }
    let works = stage(true, None, None);
    assert_eq!(ready(port).await, (200, json!({ "ready": true, "stages": { "sink": works, "ingress": works } })));
    sink.waiting("Postgres does not answer");
    let waits = stage(false, None, Some("Postgres does not answer"));
    assert_eq!(ready(port).await, (503, json!({ "ready": false, "stages": { "sink": waits, "ingress": works } })));
    sink.degraded("readings 0:7 cannot be read");
    let degraded = stage(true, Some("readings 0:7 cannot be read"), None);
    assert_eq!(ready(port).await, (200, json!({ "ready": true, "stages": { "sink": degraded, "ingress": works } })));

    shutdown.cancel();
    served.await.unwrap().unwrap();
}

async fn ready(port: u16) -> (u16, Value) {
    let (status, body) = get(port, "/ready").await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn get(port: u16, path: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
