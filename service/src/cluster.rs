//! A Kafka cluster as an installation uses it.

use schemas::topic::Topics;

use crate::kafka::KafkaSettings;

/// How to reach the cluster, and the names of the topics on it.
#[derive(Clone)]
pub struct Cluster {
    /// How to reach it.
    pub settings: KafkaSettings,
    /// The names of the topics.
    pub topics: Topics,
}
