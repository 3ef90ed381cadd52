//! Logs and metrics.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt as _};

use crate::kafka::log;

/// Buckets of all `_seconds` histograms.
const SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Sends logs to standard error: readable text on a terminal, otherwise one JSON object a line. `RUST_LOG` filters by module.
/// Without it, `level` applies to this project's crates and `warn` to all others.
pub fn init_logs(level: &str) {
    let own =
        ["device_manager", "service", "ingress", "normalizer", "sink"].map(|name| format!("{name}={level}")).join(",");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("warn,{own}")));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, as in tests, finds the first subscriber already set, which is equally good.
    let _already_set =
        if std::io::stderr().is_terminal() { logs.try_init() } else { logs.json().flatten_event(true).try_init() };
    forward_library_logs();
}

/// Sets up logging for a command that prints its result on standard output and writes no log. The log lines of libraries are
/// still processed, so that [`crate::kafka::cause`] works, but are not shown.
pub fn init_silence() {
    let _already_set = tracing_subscriber::registry().try_init();
    forward_library_logs();
}

/// Forwards the crate `log` to `tracing`. Call this after a subscriber is set: without one, `tracing` would forward the lines
/// back to `log`.
fn forward_library_logs() {
    if ::log::set_logger(&LibraryLogger).is_ok() {
        // At least Info, whatever is shown: `kafka::cause` needs librdkafka's lines about its connections.
        let level = match LevelFilter::current() {
            LevelFilter::TRACE => ::log::LevelFilter::Trace,
            LevelFilter::DEBUG => ::log::LevelFilter::Debug,
            _ => ::log::LevelFilter::Info,
        };
        ::log::set_max_level(level);
    }
}

/// The logger for libraries that use the crate `log`. It omits their source files, which are paths on the build machine, and
/// makes librdkafka's lines readable.
struct LibraryLogger;

impl ::log::Log for LibraryLogger {
    fn enabled(&self, _metadata: &::log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &::log::Record<'_>) {
        let text = record.args().to_string();
        if let Some(line) = log::readable(record.level(), &text) {
            return emit(line.level, "librdkafka", &line.text);
        }
        emit(record.level(), record.target(), &text);
    }

    fn flush(&self) {}
}

fn emit(level: ::log::Level, library: &str, text: &str) {
    match level {
        ::log::Level::Error => tracing::error!(target: "library", library, "{text}"),
        ::log::Level::Warn => tracing::warn!(target: "library", library, "{text}"),
        ::log::Level::Info => tracing::info!(target: "library", library, "{text}"),
        ::log::Level::Debug => tracing::debug!(target: "library", library, "{text}"),
        ::log::Level::Trace => tracing::trace!(target: "library", library, "{text}"),
    }
}

/// Installs the process's metrics recorder and returns the handle that `/metrics` renders.
///
/// # Errors
/// A recorder is already installed.
pub fn init_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?.install_recorder()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use ::log::Log as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_a_library_keeps_its_level_and_names_the_library() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(move || writer.clone())
            .without_time()
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for level in ::log::Level::iter() {
                let mut record = ::log::Record::builder();
                LibraryLogger.log(&record.level(level).target("other").args(format_args!("at {level}")).build());
            }
        });
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let expected = ::log::Level::iter().map(|level| format!("{level:>5} library: at {level} library=\"other\"\n"));
        assert_eq!(lines, expected.collect::<String>());
    }
}
