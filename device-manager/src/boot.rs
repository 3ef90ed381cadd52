//! How every process starts: logs, metrics, signals, the management port, then the stages.

use std::{error::Error, net::SocketAddr};

use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use service::{clock, health::Health, kafka::KafkaSettings, management, shutdown, telemetry};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::error::{CommandError, chain};

type StageResult = (&'static str, Result<(), Box<dyn Error + Send + Sync>>);

/// The arguments of every long-running process.
#[derive(Debug, Clone, Args)]
pub struct ProcessArgs {
    /// The address that serves /live, /ready and /metrics, separate from the port for clients. Port 0 selects a free port.
    #[arg(long, env = "MANAGEMENT_ADDRESS", default_value = "127.0.0.1:9464")]
    pub management_address: SocketAddr,
    /// The log level. RUST_LOG filters by module and takes precedence.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,
}

/// A process and its stages.
pub struct Process {
    /// The health that the stages report to.
    pub health: Health,
    /// Cancelled by the first signal, or when a stage ends.
    pub shutdown: CancellationToken,
    /// The actual address of the management port.
    pub management_address: SocketAddr,
    stages: JoinSet<StageResult>,
}

impl Process {
    /// Starts the process: afterwards the management port answers, and signals are handled. Settings are checked before, so
    /// that a process with wrong settings ends without having listened.
    ///
    /// # Errors
    /// The metrics recorder or a signal handler cannot be installed, or the management port is in use.
    pub async fn boot(args: &ProcessArgs) -> Result<Self, CommandError> {
        telemetry::init_logs(&args.log_level);
        let metrics = telemetry::init_metrics().map_err(|error| CommandError::failed("starting the metrics", error))?;
        let shutdown =
            shutdown::on_signals().map_err(|error| CommandError::failed("installing the signal handlers", error))?;
        clock::end_when_set_back().map_err(|error| CommandError::failed("watching the clock", error))?;
        let listener = TcpListener::bind(args.management_address).await.map_err(|error| {
            let named = std::io::Error::new(error.kind(), format!("{}: {error}", args.management_address));
            CommandError::failed("opening the management port (see --management-address, MANAGEMENT_ADDRESS)", named)
        })?;
        let management_address =
            listener.local_addr().map_err(|error| CommandError::failed("opening the management port", error))?;
        let mut process = Self { health: Health::new(), shutdown, management_address, stages: JoinSet::new() };
        process.serve_management(listener, metrics);
        Ok(process)
    }

    fn serve_management(&mut self, listener: TcpListener, metrics: PrometheusHandle) {
        let served = management::serve(listener, self.health.clone(), metrics, self.shutdown.clone());
        self.stage("management", served);
    }

    /// Starts a stage. When it ends, for whatever reason, the other stages are asked to end too.
    pub fn stage<E: Into<Box<dyn Error + Send + Sync>>>(
        &mut self,
        name: &'static str,
        stage: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.stages.spawn(async move { (name, stage.await.map_err(Into::into)) });
    }

    /// Waits until every stage has ended.
    ///
    /// # Errors
    /// The first stage that failed. It is returned after the others have ended.
    pub async fn wait(mut self) -> Result<(), CommandError> {
        let mut first_failure = None;
        while let Some(ended) = self.next_ended().await {
            first_failure = first_failure.or(ended.err());
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// Waits until a stage ends, and asks the others to end too. `None` if all have ended.
    pub(crate) async fn next_ended(&mut self) -> Option<Result<(), CommandError>> {
        let ended = self.stages.join_next().await?;
        self.shutdown.cancel();
        let failure = match ended {
            Ok((_, Ok(()))) => return Some(Ok(())),
            Ok((name, Err(error))) => CommandError::failed(name, error),
            Err(error) => CommandError::failed("a stage", error),
        };
        tracing::error!(error = %chain(&failure), "a stage failed: the process ends");
        Some(Err(failure))
    }
}

/// Stops the stages of a process that ends early. Their threads would keep it running otherwise.
impl Drop for Process {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Logs which Kafka variables are ignored.
pub fn log_ignored_variables(settings: &KafkaSettings) {
    if let Some(line) = settings.ignored_line() {
        tracing::warn!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_reaches_the_management_port_of_the_image() {
        let dockerfile = include_str!("../../Dockerfile");
        let address = dockerfile.lines().find_map(|line| line.strip_prefix("ENV MANAGEMENT_ADDRESS=")).unwrap();
        let address: SocketAddr = address.parse().unwrap();
        assert!(address.ip().is_unspecified(), "{address} cannot be reached from another container");
        assert!(dockerfile.lines().any(|line| line == format!("EXPOSE 3000 {}", address.port())));
    }
}
