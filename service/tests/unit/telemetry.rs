//! Metrics that nobody asks for.

use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusBuilder;
use service::telemetry::keep_up;

/// 16 bytes each, while nobody looks after them.
const SAMPLES: usize = 4_000_000;
const UNKEPT_BYTES: u64 = 16 * SAMPLES as u64;

#[tokio::test(flavor = "multi_thread")]
async fn samples_do_not_pile_up_where_nobody_scrapes() {
    let recorder = PrometheusBuilder::new().set_buckets(&[0.1, 1.0]).unwrap().build_recorder();
    let _kept_up = keep_up(recorder.handle(), Duration::from_millis(5));
    let before = resident_bytes();
    metrics::with_local_recorder(&recorder, || {
        let histogram = metrics::histogram!("request_seconds");
        for part in 0..100 {
            for _ in 0..SAMPLES / 100 {
                histogram.record(0.01);
            }
            // As fast as this no ingress counts; the upkeep runs beside it.
            let waits = Instant::now();
            while waits.elapsed() < Duration::from_millis(10) {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(resident_bytes() < before + UNKEPT_BYTES / 4, "after {part} % of the samples");
        }
    });
    assert!(recorder.handle().render().contains(&format!("request_seconds_count {SAMPLES}")), "none is lost");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
