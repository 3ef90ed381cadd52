//! The configuration of the normalizer.

use std::{num::NonZeroUsize, time::Duration};

use schemas::{content::ContentKey, format::RawTopic, topic::Topics};
use service::kafka::KafkaSettings;

/// The settings of the stage.
#[derive(Clone)]
pub struct NormalizerConfig {
    /// Where Kafka is.
    pub kafka: KafkaSettings,
    /// The topics' names.
    pub topics: Topics,
    /// The consumer group; all normalizers of an installation share it.
    pub group: String,
    /// The incarnation of the raw topics, see [`schemas::receipt::Position`].
    pub topic_epoch: u16,
    /// Shows that an upload is whole; the ingress's.
    pub content_key: ContentKey,
    /// What is mapped before its events must be acknowledged.
    pub batch: BatchLimits,
    /// How long after its last chunk an upload without a manifest is given up.
    pub upload_wait: Duration,
    /// How many threads map.
    pub threads: NonZeroUsize,
    /// What is stepped over.
    pub skip: Skip,
}

/// The records that an operator steps over, because the normalizer cannot get past them.
#[derive(Clone, Default)]
pub struct Skip {
    /// Where they lie; of a large upload, its manifest.
    pub positions: Vec<SkippedRecord>,
    /// Why, in the operator's words, for the dead letters.
    pub reason: String,
}

/// A record that is stepped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedRecord {
    /// Its raw topic.
    pub topic: RawTopic,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// When a batch is full: it is held in memory.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Records.
    pub records: usize,
    /// Bytes of their bodies; a single larger one is a batch of its own.
    pub bytes: usize,
    /// Time since its first record.
    pub age: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { records: 2_000, bytes: 4 << 20, age: Duration::from_millis(5) }
    }
}

/// The group that maps a raw topic: large uploads have their own.
#[must_use]
pub fn group_of(group: &str, topic: RawTopic) -> String {
    if topic == RawTopic::Uploads { format!("{group}-uploads") } else { group.to_owned() }
}
