//! Logs and metrics.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt as _};

use crate::kafka::log;

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
    take_libraries();
}

/// For a command that answers on standard output and has no log: what libraries say is heard, for
/// [`crate::kafka::cause`], and not shown.
pub fn init_silence() {
    let _already_set = tracing_subscriber::registry().try_init();
    take_libraries();
}

/// After a subscriber is there: without one, what is logged here would come back.
fn take_libraries() {
    if ::log::set_logger(&Libraries).is_ok() {
        // Up to here at least: what librdkafka says of its connections is heard, whether or not it is shown.
        let asked = match LevelFilter::current() {
            LevelFilter::TRACE => ::log::LevelFilter::Trace,
            LevelFilter::DEBUG => ::log::LevelFilter::Debug,
            _ => ::log::LevelFilter::Info,
        };
        ::log::set_max_level(asked);
    }
}

/// What libraries log through the crate `log`. Their source files, which are paths of the machine that built this, are left
/// out, and librdkafka's lines are made readable.
struct Libraries;

impl ::log::Log for Libraries {
    fn enabled(&self, _metadata: &::log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &::log::Record<'_>) {
        let said = record.args().to_string();
        if let Some(line) = log::readable(record.level(), &said) {
            return say(line.level, "librdkafka", &line.text);
        }
        say(record.level(), record.target(), &said);
    }

    fn flush(&self) {}
}

fn say(level: ::log::Level, library: &str, said: &str) {
    match level {
        ::log::Level::Error => tracing::error!(target: "library", library, "{said}"),
        ::log::Level::Warn => tracing::warn!(target: "library", library, "{said}"),
        ::log::Level::Info => tracing::info!(target: "library", library, "{said}"),
        ::log::Level::Debug => tracing::debug!(target: "library", library, "{said}"),
        ::log::Level::Trace => tracing::trace!(target: "library", library, "{said}"),
    }
}

/// Installs the process's metrics recorder and returns what `/metrics` renders.
///
/// # Errors
/// A recorder is installed already.
pub fn init_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?.install_recorder()
}
