//! Errors that end the sink.

use rdkafka::error::KafkaError;

/// Why the sink ended. An outage of Kafka or Postgres is not an error: the sink waits until it is over.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A Kafka client rejected a setting or failed fatally.
    #[error("the Kafka client of the sink failed")]
    Kafka(#[from] KafkaError),
    /// `DATABASE_URL` cannot be parsed.
    #[error("DATABASE_URL is not a Postgres address")]
    Address(#[source] sqlx::Error),
    /// A schema that is compiled in cannot be parsed.
    #[error(transparent)]
    Schema(#[from] schemas::codec::SchemaError),
    /// The consumer thread could not be started.
    #[error("the consumer thread could not be started")]
    Thread(#[from] std::io::Error),
    /// The consumer thread or the writer task ended abnormally.
    #[error("a thread of the sink ended abnormally")]
    ThreadEnded,
    /// Postgres returned an error that neither waiting nor changing a row resolves: this program is wrong. Contains the name of
    /// the error.
    #[error("the sink has a defect: {0}")]
    Defect(String),
}
