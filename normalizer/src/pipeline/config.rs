//! The configuration of the normalizer.

use std::{num::NonZeroUsize, time::Duration};

use schemas::{content::ContentKey, format::RawTopic, topic::Topics};
use service::kafka::KafkaSettings;

/// The settings of the normalizer stage.
#[derive(Clone)]
pub struct NormalizerConfig {
    /// How to connect to Kafka.
    pub kafka: KafkaSettings,
    /// The names of the topics.
    pub topics: Topics,
    /// The consumer group, which all normalizers of an installation share.
    pub group: String,
    /// The topic epoch of the raw topics, see [`schemas::receipt::ItemPosition`].
    pub topic_epoch: u16,
    /// The key for the hash that verifies an upload. It must be the same as the ingress's.
    pub content_key: ContentKey,
    /// How much is mapped before its events must be acknowledged.
    pub batch: BatchLimits,
    /// How long after its last chunk an upload without a manifest is given up.
    pub upload_wait: Duration,
    /// The number of mapping threads.
    pub threads: NonZeroUsize,
    /// The records to skip.
    pub skip: Skip,
}

/// The records that an operator skips, because the normalizer cannot get past them.
#[derive(Clone, Default)]
pub struct Skip {
    /// The positions of the records; for a large upload, that of its manifest.
    pub positions: Vec<SkippedRecord>,
    /// The operator's reason, which is added to the dead letters.
    pub reason: String,
}

/// A record to skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedRecord {
    /// The raw topic of the record.
    pub topic: RawTopic,
    /// The partition of the record.
    pub partition: i32,
    /// The offset of the record.
    pub offset: i64,
}

/// When a batch is full. A batch is held in memory.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// The maximum number of records.
    pub records: usize,
    /// The maximum size of their bodies in bytes. A single larger record is a batch of its own.
    pub bytes: usize,
    /// The maximum time since the first record.
    pub age: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { records: 2_000, bytes: 4 << 20, age: Duration::from_millis(5) }
    }
}

/// Returns the consumer group that maps a raw topic. Large uploads have a group of their own.
#[must_use]
pub fn group_of(group: &str, topic: RawTopic) -> String {
    if topic == RawTopic::Uploads { format!("{group}-uploads") } else { group.to_owned() }
}
