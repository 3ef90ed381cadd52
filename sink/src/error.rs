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
}

/// What a database error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Postgres is away or overloaded, or two writers met: wait and try again.
    Outage,
    /// Postgres refuses a value: find the row.
    BadRow,
    /// The schema is not that of this release, or a right is missing: wait for the operator.
    Setup,
}

/// Judges a database error by its SQLSTATE (PostgreSQL documentation, appendix A).
#[must_use]
pub fn fault(error: &sqlx::Error) -> Fault {
    let sqlx::Error::Database(database) = error else { return Fault::Outage };
    let code = database.code().unwrap_or_default();
    match code.get(..2).unwrap_or_default() {
        // Data exception, integrity violation, program limit exceeded (an index entry too large).
        "22" | "23" | "54" => Fault::BadRow,
        // Syntax or access rule, invalid catalogue, schema, authorization.
        "42" | "3D" | "3F" | "28" | "0A" => Fault::Setup,
        _ => Fault::Outage,
    }
}

/// Whether waiting helps and nothing is wrong with the data.
#[must_use]
pub fn is_outage(error: &sqlx::Error) -> bool {
    fault(error) == Fault::Outage
}
