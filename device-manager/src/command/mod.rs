//! The subcommands, one file each.

use std::{fmt::Display, io::Write, process::ExitCode};

use clap::Args;
use service::kafka::{KafkaSettings, SettingsError};

pub mod docs;
pub mod drift;
pub mod ingress;
pub mod keys;
pub mod metrics;
pub mod normalize;
pub mod normalizer;
pub mod simulate;
pub mod sink;
pub mod topics;
pub mod trace;
pub mod up;

/// Where Kafka is and how this installation's topics are named.
#[derive(Debug, Clone, Args)]
pub struct KafkaArgs {
    /// The brokers as host:port,host:port. Any other `KAFKA_<PROPERTY>` variable is passed on to librdkafka:
    /// KAFKA_SECURITY_PROTOCOL sets security.protocol.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    pub kafka_bootstrap_servers: Option<String>,
    /// What stands in front of every topic name, where several installations share a cluster.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    pub topic_prefix: String,
}

impl KafkaArgs {
    /// The settings of all clients.
    ///
    /// # Errors
    /// [`CommandError`] when no broker is named.
    pub fn settings(&self) -> Result<KafkaSettings, CommandError> {
        let given = self.kafka_bootstrap_servers.clone().map(|servers| ("KAFKA_BOOTSTRAP_SERVERS".to_owned(), servers));
        KafkaSettings::from_env(std::env::vars().chain(given))
            .map_err(|error: SettingsError| CommandError::usage(error))
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The arguments or the environment are not usable as they are: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The work failed: exit code 1. The cause follows as the error's source.
    #[error("{what} could not be done")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Standard output is closed or full.
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

impl CommandError {
    /// Arguments or environment that cannot be used.
    pub fn usage(error: impl Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// Work that failed.
    pub fn failed(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed { what, source: source.into() }
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed { .. } | Self::Output(_) => ExitCode::from(1),
        }
    }
}

/// Standard output: results only; everything else goes to standard error.
pub struct Output(Box<dyn Write + Send>);

impl Output {
    /// The process's standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self(Box::new(std::io::stdout()))
    }

    /// Writes one line.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn line(&mut self, line: &str) -> std::io::Result<()> {
        writeln!(self.0, "{line}")
    }
}
