//! The configuration of the sink.

use schemas::{receipt::ReceiptKey, topic::Topics};
use service::kafka::KafkaSettings;

use crate::batch::BatchLimits;

/// The configuration of the sink.
#[derive(Clone)]
pub struct SinkConfig {
    /// How to connect to Kafka.
    pub kafka: KafkaSettings,
    /// The names of the topics.
    pub topics: Topics,
    /// The address of the Postgres database.
    pub database_url: String,
    /// The consumer group, shared by all sinks of one database. [`crate::item::Lane::group`] derives the group of each lane.
    pub group: String,
    /// When a batch is due.
    pub batch: BatchLimits,
    /// The key that signs receipts.
    pub receipt_key: ReceiptKey,
}
