//! Metrics of a process that is never scraped. The test runs in a process of its own because it measures the memory of the
//! process.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use service::{health::Health, management};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The recorder stores 16 bytes for each sample until its upkeep runs.
const SAMPLES: usize = 1_000_000;
const ROUNDS: usize = 4;
const ROUND_BYTES: u64 = 16 * SAMPLES as u64;

// Single-threaded: once this test has slept longer than the upkeep interval, the upkeep has run, however busy the machine is.
#[tokio::test(flavor = "current_thread")]
async fn metric_samples_do_not_accumulate_without_scrapes() {
    let recorder = PrometheusBuilder::new().set_buckets(&[0.1, 1.0]).unwrap().build_recorder();
    let histogram = metrics::with_local_recorder(&recorder, || metrics::histogram!("request_seconds"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(management::serve(listener, Health::new(), recorder.handle(), shutdown.clone()));
    let before = resident_bytes();
    for round in 1..=ROUNDS {
        for _ in 0..SAMPLES {
            histogram.record(0.01);
        }
        assert!(resident_bytes() < before + 2 * ROUND_BYTES, "in round {round}");
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    shutdown.cancel();
    served.await.unwrap().unwrap();
    assert!(
        recorder.handle().render().contains(&format!("request_seconds_count {}", ROUNDS * SAMPLES)),
        "no sample is lost"
    );
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
