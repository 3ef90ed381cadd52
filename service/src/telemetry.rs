//! Logs and metrics.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Buckets of all `_seconds` histograms.
const SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Sends logs to standard error: readable on a terminal, one JSON object a line elsewhere. `RUST_LOG` filters by
/// module; without it `level` holds for this project and `warn` for everything else.
pub fn init_logs(level: &str) {
    let own =
        ["device_manager", "service", "ingress", "normalizer", "sink"].map(|name| format!("{name}={level}")).join(",");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("warn,{own}")));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, from a test, finds the first subscriber in place: that is as good.
    let _already_set =
        if std::io::stderr().is_terminal() { logs.try_init() } else { logs.json().flatten_event(true).try_init() };
}

/// Installs the process's metrics recorder and returns what `/metrics` renders.
///
/// # Errors
/// A recorder is installed already.
pub fn init_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?.install_recorder()
}
