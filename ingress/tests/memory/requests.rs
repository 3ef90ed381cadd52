//! The memory that requests leave allocated.

use std::time::Duration;

use service::{health::Health, management, telemetry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    counting::{now, turn},
    test_app::{LogBehaviour, TestApp},
};

const PATH: &str = "/health-data/healthkit/json";
/// Sent first, so that everything that is allocated on first use exists.
const WARM_UP: usize = 10_000;
const REQUESTS: usize = 60_000;
/// Four bytes for each request. A histogram sample that is not collected takes sixteen.
const LEFT_BYTES_MAX: isize = 4 * REQUESTS.cast_signed();
const PATIENCE: Duration = Duration::from_secs(60);

async fn send(test_app: &TestApp, count: usize) {
    for number in 0..count {
        let (body, status) = if number % 10 == 0 { ("{", 400) } else { ("{}", 200) };
        assert_eq!(test_app.post(PATH).send(body).await.status, status);
        if number % 10 == 0 {
            assert_eq!(
                test_app.bare(PATH).header("x-api-key", &format!("unknown-{number}")).send("{}").await.status,
                401
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_leave_no_memory_behind_if_the_metrics_are_not_scraped() {
    let _turn = turn().await;
    let metrics = telemetry::init_metrics().unwrap();
    // The management port runs the recorder's upkeep, whether or not it is scraped.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = CancellationToken::new();
    let _served = tokio::spawn(management::serve(listener, Health::new(), metrics.clone(), shutdown.clone()));
    let test_app = TestApp::with(LogBehaviour::Discards, |_| {});
    send(&test_app, WARM_UP).await;
    let before = now();
    send(&test_app, REQUESTS).await;
    let flat = async {
        while now() - before > LEFT_BYTES_MAX {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let flat = tokio::time::timeout(PATIENCE, flat).await;
    assert!(flat.is_ok(), "{} bytes are left of {REQUESTS} requests", now() - before);
    let counted = format!("device_manager_ingress_requests_total {}", (WARM_UP + REQUESTS) / 10 * 11);
    assert!(metrics.render().contains(&counted), "the metrics count them: {counted}");
    shutdown.cancel();
}
