//! The raw topics from the point of view of ingress: a log that stores a record and returns its position.

pub mod kafka;

use std::num::NonZeroU16;

use rdkafka::error::RDKafkaErrorCode;
use schemas::{format::RawTopic, raw::Headers};
use tokio::sync::oneshot;

/// A record to append.
pub struct RawAppend<'a> {
    /// The raw topic.
    pub topic: RawTopic,
    /// The partition or the key.
    pub destination: Destination<'a>,
    /// The headers.
    pub headers: &'a Headers,
    /// The payload.
    pub body: &'a [u8],
}

/// How the partition of a record is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// By the key, so that all records of this key are in one partition, in their order.
    Key(&'a str),
    /// This partition; the record has no key.
    Partition(i32),
}

/// The position of an appended record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// Why a record may not have been stored. It may have been stored all the same; then a retry creates a duplicate, which is
/// detected by the reading's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// The producer's queue is full.
    QueueFull,
    /// Kafka did not acknowledge the record.
    NotAcknowledged(Option<RDKafkaErrorCode>),
}

/// Resolves when Kafka has acknowledged the record or delivery has failed.
pub type Acknowledgement = oneshot::Receiver<Result<Appended, AppendError>>;

/// The log to which bodies are appended. The only other implementation is the fake in the HTTP tests.
pub trait RawLog: Send + Sync + 'static {
    /// Queues a record without waiting.
    ///
    /// # Errors
    /// [`AppendError`] if the record cannot be queued.
    fn append(&self, record: &RawAppend<'_>) -> Result<Acknowledgement, AppendError>;

    /// Returns the number of partitions of a topic; `None` while it is unknown.
    fn partitions(&self, topic: RawTopic) -> Option<NonZeroU16>;
}
