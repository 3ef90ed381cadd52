//! Why a run could not be carried out. What a run finds is not an error.

use std::{io, path::PathBuf, time::Duration};

use embedded::EmbeddedError;
use rdkafka::error::KafkaError;

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// The embedded Kafka or Postgres failed.
    #[error("the embedded servers failed")]
    Embedded(#[from] EmbeddedError),
    /// A file, a socket or a process of the run cannot be used.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A task or a socket failed.
    #[error("a socket or a process cannot be used")]
    System(#[from] io::Error),
    /// Kafka refused a request of the oracle.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// Postgres refused a statement of the oracle.
    #[error("Postgres refused a statement of the oracle")]
    Database(#[from] sqlx::Error),
    /// The HTTP client cannot be created.
    #[error("the HTTP client cannot be created")]
    Client(#[from] reqwest::Error),
    /// A command of the binary, or a program of Postgres, failed.
    #[error("`{name}` failed: {said}")]
    Command {
        /// The name.
        name: &'static str,
        /// What it wrote to standard error.
        said: String,
    },
    /// Something that every run requires did not happen.
    #[error("not within {} s: {what}", .within.as_secs())]
    TimedOut {
        /// What did not happen.
        what: &'static str,
        /// How long was waited for it.
        within: Duration,
    },
    /// Something that a fault needs is not installed.
    #[error("{0}")]
    Missing(&'static str),
    /// A task of the run ended abnormally.
    #[error("a task of the run ended abnormally")]
    Task(#[from] tokio::task::JoinError),
    /// A line of the file of results cannot be read or written.
    #[error("the results cannot be read or written")]
    Results(#[from] serde_json::Error),
}

impl ChaosError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
