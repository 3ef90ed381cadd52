//! A Kafka cluster together with the topic names of one installation.

use schemas::topic::Topics;

use crate::kafka::KafkaSettings;

/// The connection settings of a cluster and the names of its topics.
#[derive(Clone)]
pub struct Cluster {
    /// The connection settings.
    pub settings: KafkaSettings,
    /// The names of the topics.
    pub topics: Topics,
}
