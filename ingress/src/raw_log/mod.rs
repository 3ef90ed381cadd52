//! The raw topics as the ingress sees them: something that a body is appended to, and that says where it came to lie.

pub mod kafka;

use std::num::NonZeroU16;

use rdkafka::error::RDKafkaErrorCode;
use schemas::{format::RawTopic, raw::Headers};
use tokio::sync::oneshot;

/// One record to append.
pub struct RawAppend<'a> {
    /// The raw topic.
    pub topic: RawTopic,
    /// Where in it.
    pub destination: Destination<'a>,
    /// The headers.
    pub headers: &'a Headers,
    /// The payload.
    pub body: &'a [u8],
}

/// Where in its topic a record belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// Beside all others of this key, in their order.
    Key(&'a str),
    /// In this partition, without a key.
    Partition(i32),
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// Why a record is not known to be kept. It may be kept all the same: a retry is then a duplicate, which the reading's
/// identity resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// The producer's queue is full.
    QueueFull,
    /// Kafka did not acknowledge.
    NotAcknowledged(Option<RDKafkaErrorCode>),
}

/// Resolves when Kafka has answered.
pub type Acknowledgement = oneshot::Receiver<Result<Appended, AppendError>>;

/// What bodies are appended to. The one other implementation is the double in the HTTP tests.
pub trait RawLog: Send + Sync + 'static {
    /// Queues a record without waiting.
    ///
    /// # Errors
    /// [`AppendError`] when it cannot even be queued.
    fn append(&self, record: &RawAppend<'_>) -> Result<Acknowledgement, AppendError>;

    /// How many partitions a topic has; none as long as that is not known.
    fn partitions(&self, topic: RawTopic) -> Option<NonZeroU16>;
}
