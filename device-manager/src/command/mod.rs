//! The subcommands, one file each.

use std::{path::Path, time::Duration};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use rdkafka::consumer::BaseConsumer;
use schemas::{
    format::{Format, Provider},
    topic::Topics,
};
use service::{
    cluster::Cluster,
    kafka::{self, KafkaSettings},
    secret,
};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use crate::{
    error::{CommandError, chain},
    output::remark,
};

pub mod accept_gap;
pub mod catalogue_file;
pub mod chaos;
pub mod completions;
pub mod dead_letters;
pub mod docs;
pub mod drift;
pub mod event_schemas;
pub mod find;
pub mod ingress;
pub(crate) mod installation;
pub mod keys;
pub mod man;
pub mod metrics;
pub mod normalize;
pub mod normalizer;
pub(crate) mod operator;
pub mod payload;
pub(crate) mod raw_log;
pub mod reconcile;
pub mod replay;
pub mod roles;
pub mod simulate;
pub(crate) mod since;
pub mod sink;
pub mod skip;
pub mod topics;
pub mod trace;
pub mod up;

/// How to reach Kafka, and how the topics of this installation are named.
#[derive(Debug, Clone, Args)]
pub struct KafkaArgs {
    /// The brokers as host:port,host:port. Further KAFKA_ variables set how to connect to them, such as KAFKA_SECURITY_PROTOCOL
    /// and KAFKA_SASL_PASSWORD.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    pub kafka_bootstrap_servers: String,
    /// A prefix of every topic name, for installations that share a cluster. Each of them also requires its own consumer
    /// groups: NORMALIZER_GROUP, SINK_GROUP.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    pub topic_prefix: String,
}

impl KafkaArgs {
    /// Returns the cluster of an operator's command. Such a command has no log, so it names ignored variables on standard
    /// error.
    ///
    /// # Errors
    /// [`CommandError`]: no broker is named, or a variable cannot be used.
    pub fn cluster(&self) -> Result<Cluster, CommandError> {
        let cluster = self.cluster_of_stage()?;
        if let Some(line) = cluster.settings.ignored_line() {
            remark(&line);
        }
        Ok(cluster)
    }

    /// Returns the cluster of a stage, which names ignored variables in its log.
    ///
    /// # Errors
    /// As [`KafkaArgs::cluster`].
    pub(crate) fn cluster_of_stage(&self) -> Result<Cluster, CommandError> {
        let given = ("KAFKA_BOOTSTRAP_SERVERS".to_owned(), self.kafka_bootstrap_servers.clone());
        let settings = KafkaSettings::from_env(variables().chain([given])).map_err(CommandError::usage)?;
        // Some values can be checked only by creating a client, such as the name of a file that does not exist.
        match settings.client().create::<BaseConsumer>() {
            Ok(_) => Ok(Cluster { settings, topics: Topics::new(&self.topic_prefix) }),
            Err(error) => Err(CommandError::usage(format!("the KAFKA_ variables cannot be used: {error}"))),
        }
    }
}

/// How long an operator's command waits for Kafka. A cluster that is starting takes some seconds.
const KAFKA_ANSWERS: Duration = Duration::from_secs(10);

/// Waits until Kafka answers, and reports the wait, for an operator's command.
///
/// # Errors
/// [`CommandError`]: why Kafka does not answer.
pub(crate) async fn reach(settings: &KafkaSettings) -> Result<(), CommandError> {
    let settings = settings.clone();
    let on_wait =
        |why: &str| remark(&format!("Kafka does not answer: {why}; waiting for up to {} s", KAFKA_ANSWERS.as_secs()));
    let reached = tokio::task::spawn_blocking(move || kafka::reach(&settings, KAFKA_ANSWERS, on_wait));
    reached
        .await
        .map_err(|error| error.to_string())
        .flatten()
        .map_err(|why| CommandError::failed("Kafka does not answer", why))
}

/// Reads the secret that signs receipts.
///
/// # Errors
/// [`CommandError`]: the file cannot be used.
pub(crate) fn receipt_secret(file: &Path) -> Result<[u8; 32], CommandError> {
    secret::load(file).map_err(|error| CommandError::usage(chain(&error)))
}

/// Returns the parser of an argument that names a provider. The help and the completions list the names.
pub(crate) fn provider_name() -> impl TypedValueParser<Value = Provider> {
    let names = PossibleValuesParser::new(Provider::names().map(|(name, _)| name));
    names.try_map(|name| Provider::parse(&name).ok_or("the name is unknown"))
}

/// Returns the parser of an argument that names a format. The help and the completions list the names.
pub(crate) fn format_name() -> impl TypedValueParser<Value = Format> {
    let names = PossibleValuesParser::new(Format::names().map(|(name, _)| name));
    names.try_map(|name| Format::parse(&name).ok_or("the name is unknown"))
}

/// The environment variables that are valid UTF-8.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Opens a connection to the database of an operator's command.
///
/// # Errors
/// [`CommandError`]: why the connection cannot be opened, without the password.
pub async fn connect(database_url: &str) -> Result<PgConnection, CommandError> {
    Ok(PgConnection::connect_with(&database(database_url)?).await?)
}

/// Parses DATABASE_URL. A malformed value is not shown, because it may contain a password.
///
/// # Errors
/// [`CommandError`]: the value is not the address of a Postgres.
pub(crate) fn database(url: &str) -> Result<PgConnectOptions, CommandError> {
    let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    url.parse().ok().filter(|_| is_postgres).ok_or_else(|| {
        CommandError::usage("DATABASE_URL is malformed: it must be postgres://user:password@host:port/database")
    })
}

/// An error that Postgres returned, or why Postgres is not reachable.
impl From<sqlx::Error> for CommandError {
    fn from(error: sqlx::Error) -> Self {
        Self::failed("querying Postgres", store::error_class::cause(&error))
    }
}
