//! Why the normalizer ends.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};
use schemas::{catalogue::CatalogueError, codec::SchemaError};

/// What waiting does not heal, and, inside the stage, what it does.
#[derive(Debug, thiserror::Error)]
pub enum NormalizerError {
    /// Kafka refuses or is away.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// The records after the committed position were deleted: going on would lose them without a word.
    #[error(
        "raw records after the group's committed position are no longer on the topic: they were deleted or the topic was made \
         anew; restore them, or reset the group's offsets knowingly"
    )]
    RecordsGone,
    /// A compiled-in schema is broken.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The compiled-in catalogue is broken.
    #[error("the metric catalogue is broken")]
    Catalogue(#[source] &'static CatalogueError),
    /// The mapping's thread ended abnormally.
    #[error("the mapping ended abnormally")]
    Task(#[from] tokio::task::JoinError),
    /// The producer went away before it answered.
    #[error("a delivery report was lost")]
    NoReport,
}

impl NormalizerError {
    /// Whether the other side is away and waiting may heal it.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Kafka(error) => is_outage(error),
            Self::NoReport => true,
            Self::RecordsGone | Self::Schema(_) | Self::Catalogue(_) | Self::Task(_) => false,
        }
    }
}

fn is_outage(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    error.rdkafka_error_code().is_some_and(|code| {
        matches!(
            code,
            Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::BrokerNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::Fail
                | Code::KafkaStorageError
                | Code::LeaderNotAvailable
                | Code::MessageTimedOut
                | Code::NetworkException
                | Code::NotCoordinator
                | Code::NotEnoughReplicas
                | Code::NotEnoughReplicasAfterAppend
                | Code::NotLeaderForPartition
                | Code::OperationTimedOut
                | Code::PurgeInflight
                | Code::PurgeQueue
                | Code::QueueFull
                | Code::RequestTimedOut
                | Code::Resolve
                // What a broker says whose disk is full.
                | Code::Unknown
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_with_a_full_disk_is_waited_for() {
        for code in [RDKafkaErrorCode::Unknown, RDKafkaErrorCode::KafkaStorageError, RDKafkaErrorCode::MessageTimedOut]
        {
            assert!(NormalizerError::from(KafkaError::MessageProduction(code)).is_outage(), "{code}");
        }
        let ours = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        assert!(!NormalizerError::from(ours).is_outage(), "what the broker will never take is no outage");
    }
}
