//! Why topics cannot be made or compared.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

/// Why topics could not be applied or checked.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The cluster does not answer.
    #[error("the Kafka cluster does not answer: {cause}")]
    Away {
        /// Why: what the brokers did, or, where they did nothing, what the client says.
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
        /// Kafka's reason.
        code: RDKafkaErrorCode,
    },
}
