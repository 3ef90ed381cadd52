//! Why the sink stops, waits or refuses.

use rdkafka::error::KafkaError;

/// Why the sink ended. Outages are not among them: it waits those out.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A client setting is refused, or a client has failed for good.
    #[error("the Kafka client of the sink failed")]
    Kafka(#[from] KafkaError),
    /// The database's address cannot be read.
    #[error("DATABASE_URL is not a Postgres address")]
    Address(#[source] sqlx::Error),
    /// A schema compiled in does not parse.
    #[error(transparent)]
    Schema(#[from] schemas::codec::SchemaError),
    /// The consumer's thread could not be started.
    #[error("the consumer's thread could not be started")]
    Thread(#[from] std::io::Error),
    /// The consumer's thread ended without being asked to.
    #[error("the consumer's thread ended")]
    ThreadEnded,
    /// The sink and the database misunderstand each other in a way that neither waiting nor another row heals.
    #[error("the sink has a defect: {0}")]
    Defect(String),
}
