//! The subcommands, one file each.

use std::{fmt::Display, io::Write, path::Path, process::ExitCode, time::Duration};

use clap::Args;
use rdkafka::consumer::BaseConsumer;
use service::{
    kafka::{self, KafkaSettings},
    secret,
};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use crate::boot::chain;

pub mod accept_gap;
pub mod docs;
pub mod drift;
pub mod ingress;
pub mod keys;
pub mod metrics;
pub mod normalize;
pub mod normalizer;
pub mod roles;
pub mod simulate;
pub mod sink;
pub mod skip;
pub mod topics;
pub mod trace;
pub mod up;

/// Where Kafka is and how this installation's topics are named.
#[derive(Debug, Clone, Args)]
pub struct KafkaArgs {
    /// The brokers as host:port,host:port. Further KAFKA_ variables say how to reach them, such as KAFKA_SECURITY_PROTOCOL and
    /// KAFKA_SASL_PASSWORD.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    pub kafka_bootstrap_servers: Option<String>,
    /// What stands in front of every topic name, where several installations share a cluster. Each of them needs consumer groups
    /// of its own, too: NORMALIZER_GROUP, SINK_GROUP.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    pub topic_prefix: String,
}

impl KafkaArgs {
    /// The settings of an operator's command, which has no log: what is ignored is said on standard error.
    ///
    /// # Errors
    /// [`CommandError`] when no broker is named, or a variable cannot be used.
    pub fn settings(&self) -> Result<KafkaSettings, CommandError> {
        let settings = self.settings_unsaid()?;
        if let Some(line) = settings.ignored_line() {
            remark(&line);
        }
        Ok(settings)
    }

    /// The settings, for a caller that says itself what is ignored.
    pub(crate) fn settings_unsaid(&self) -> Result<KafkaSettings, CommandError> {
        let given = self.kafka_bootstrap_servers.clone().map(|servers| ("KAFKA_BOOTSTRAP_SERVERS".to_owned(), servers));
        let settings = KafkaSettings::from_env(variables().chain(given)).map_err(CommandError::usage)?;
        // Some values only show with others that they cannot be used, such as the name of a file that is not there.
        match settings.client().create::<BaseConsumer>() {
            Ok(_) => Ok(settings),
            Err(error) => Err(CommandError::usage(format!("the KAFKA_ variables cannot be used: {error}"))),
        }
    }
}

/// How long an operator's command waits for Kafka. A cluster that just starts takes some seconds.
const KAFKA_ANSWERS: Duration = Duration::from_secs(10);

/// Waits until Kafka answers, and says so, for an operator's command.
///
/// # Errors
/// [`CommandError`]: why it does not.
pub(crate) async fn reach(settings: &KafkaSettings) -> Result<(), CommandError> {
    let settings = settings.clone();
    let waits =
        |why: &str| remark(&format!("Kafka does not answer: {why}; waiting for up to {} s", KAFKA_ANSWERS.as_secs()));
    let asked = tokio::task::spawn_blocking(move || kafka::reach(&settings, KAFKA_ANSWERS, waits));
    asked
        .await
        .map_err(|error| error.to_string())
        .flatten()
        .map_err(|why| CommandError::failed("Kafka does not answer", why))
}

/// Says on standard error what is no result.
pub(crate) fn remark(line: &str) {
    // Nothing can be done when standard error is closed.
    let _closed = writeln!(std::io::stderr(), "device-manager: {line}");
}

/// The secret that signs receipts.
///
/// # Errors
/// [`CommandError`]: the file cannot be used.
pub(crate) fn receipt_secret(file: &Path) -> Result<[u8; 32], CommandError> {
    secret::load_or_refuse(file).map_err(|error| CommandError::usage(chain(&error)))
}

/// The environment but for what is no text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// A connection to the database of an operator's command.
///
/// # Errors
/// [`CommandError`]: why it cannot be had, without the password.
pub async fn connect(database_url: &str) -> Result<PgConnection, CommandError> {
    PgConnection::connect_with(&database(database_url)?).await.map_err(asking_postgres)
}

/// Reads DATABASE_URL. What cannot be read is not shown: it may hold a password.
///
/// # Errors
/// [`CommandError`]: it is no address of a Postgres.
pub(crate) fn database(url: &str) -> Result<PgConnectOptions, CommandError> {
    let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    url.parse().ok().filter(|_| is_postgres).ok_or_else(|| {
        CommandError::usage("DATABASE_URL is malformed: it must be postgres://user:password@host:port/database")
    })
}

/// What Postgres refuses, or why it is away. By value, as `map_err` hands it over.
#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(crate) fn asking_postgres(error: sqlx::Error) -> CommandError {
    CommandError::failed("asking Postgres", store::fault::cause(&error))
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The arguments, the environment or a file that they name are not usable as they are: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The work failed: exit code 1. The cause follows as the error's source.
    #[error("{what}")]
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
