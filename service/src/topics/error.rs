//! Why topics cannot be created or checked.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

/// Why topics could not be applied or checked.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The cluster does not answer.
    #[error("the Kafka cluster does not answer: {cause}")]
    Away {
        /// The cause: what the brokers did or, if that is unknown, the client's error.
        cause: String,
    },
    /// The cluster refuses the request as a whole.
    #[error("the Kafka cluster refuses the request")]
    Kafka(#[from] KafkaError),
    /// The cluster refuses one topic.
    #[error("the Kafka cluster refuses the topic {topic}: {code}")]
    Refused {
        /// The topic.
        topic: String,
        /// Kafka's error code.
        code: RDKafkaErrorCode,
    },
}
