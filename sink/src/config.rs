//! What the sink is told.

use schemas::{receipt::ReceiptKey, topic::Topics};
use service::kafka::KafkaSettings;

use crate::batch::BatchLimits;

/// What the sink is told.
#[derive(Clone)]
pub struct SinkConfig {
    /// Where Kafka is.
    pub kafka: KafkaSettings,
    /// The topics' names.
    pub topics: Topics,
    /// Where Postgres is.
    pub database_url: String,
    /// The consumer group; sinks of one database share it.
    pub group: String,
    /// When a batch is full.
    pub batch: BatchLimits,
    /// Signs receipts.
    pub receipt_key: ReceiptKey,
}
