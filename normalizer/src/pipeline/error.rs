//! Errors of the normalizer.

use catalogue::CatalogueError;
use rdkafka::error::KafkaError;
use schemas::codec::SchemaError;
use service::{
    kafka_error::{Reaction, reaction_to},
    topics::not_there,
};

use crate::pool::PoolGone;

/// Why the catalogue of this process must not be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CatalogueConflict {
    /// The revision belongs to another file.
    #[error(
        "catalogue revision {revision} belongs to another file: this one has the SHA-256 {own}, and that one {published}; give this \
         file a higher revision"
    )]
    OtherFile {
        /// The revision of both files.
        revision: i32,
        /// The hash of the file of this process.
        own: String,
        /// The hash of the file to which the revision belongs.
        published: String,
    },
    /// A file with a higher revision was used before.
    #[error(
        "catalogue revision {published} was used before, and this process has revision {own}; set CATALOGUE_FILE to the file of \
         revision {published}, or to one with a higher revision (a file with a revision and no entry stands for the built-in \
         catalogue)"
    )]
    Older {
        /// The revision of this process; 0 without a file.
        own: i32,
        /// The highest revision that was used.
        published: i32,
    },
}

/// An error of the normalizer. [`run`](super::run) returns only those that waiting does not resolve; the stage itself waits for
/// the end of an outage.
#[derive(Debug, thiserror::Error)]
pub enum NormalizerError {
    /// Kafka refused a request, or is not available.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// A compiled-in schema is broken.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The compiled-in catalogue is broken.
    #[error("the metric catalogue is broken")]
    Catalogue(#[source] &'static CatalogueError),
    /// Another catalogue file was used before, which this process must not map beside or after.
    #[error(transparent)]
    Conflict(#[from] CatalogueConflict),
    /// This topic does not exist.
    #[error("{}", not_there(.0))]
    NoTopic(String),
    /// The mapping threads cannot be started.
    #[error("the mapping threads cannot be started")]
    Threads(#[from] std::io::Error),
    /// The mapping threads have ended.
    #[error(transparent)]
    Mapping(#[from] PoolGone),
    /// A task ended abnormally.
    #[error("a task ended abnormally")]
    Task(#[from] tokio::task::JoinError),
    /// The producer was dropped before it reported the delivery of an event.
    #[error("a delivery report was lost")]
    NoReport,
}

impl NormalizerError {
    /// Whether Kafka is not available and waiting may resolve the error.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Kafka(error) => match reaction_to(error) {
                Reaction::Retry => true,
                Reaction::Refuse | Reaction::Fatal => false,
            },
            Self::NoReport => true,
            Self::Schema(_)
            | Self::Catalogue(_)
            | Self::Conflict(_)
            | Self::NoTopic(_)
            | Self::Threads(_)
            | Self::Mapping(_)
            | Self::Task(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaErrorCode;

    use super::*;

    #[test]
    fn a_broker_with_a_full_disk_is_waited_for() {
        for code in [RDKafkaErrorCode::Unknown, RDKafkaErrorCode::KafkaStorageError, RDKafkaErrorCode::MessageTimedOut]
        {
            assert!(NormalizerError::from(KafkaError::MessageProduction(code)).is_outage(), "{code}");
        }
        let ours = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        assert!(!NormalizerError::from(ours).is_outage(), "what the broker will never accept is not an outage");
    }
}
