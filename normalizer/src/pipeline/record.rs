//! A raw record as the loop handles it.

use rdkafka::{Message, message::OwnedMessage};
use schemas::{
    format::RawTopic,
    raw::{HeaderError, Headers},
    upload::{Part, Upload},
};

/// A partition of a raw topic.
pub(super) type RawPartition = (RawTopic, i32);

/// One record with its headers read.
pub(super) struct Consumed {
    pub(super) topic: RawTopic,
    pub(super) headers: Result<Headers, HeaderError>,
    pub(super) message: OwnedMessage,
    /// Whether an earlier process mapped it, so that it is there to be followed only.
    pub(super) is_handled: bool,
    /// Which assignment of its partition it came with.
    pub(super) assignment: u64,
}

impl Consumed {
    /// The same record without what it holds.
    pub(super) fn without_body(&self) -> Self {
        let message = &self.message;
        let (topic, partition, offset) = (message.topic().to_owned(), message.partition(), message.offset());
        Self {
            headers: self.headers.clone(),
            message: OwnedMessage::new(None, None, topic, message.timestamp(), partition, offset, None),
            ..*self
        }
    }
}

/// The bytes of a record's body.
pub(super) fn bytes_of(record: Option<&Consumed>) -> usize {
    record.and_then(|record| record.message.payload()).map_or(0, <[u8]>::len)
}

/// The upload that a record is a part of.
pub(super) fn upload_of(record: &Consumed) -> Option<&Upload> {
    record.headers.as_ref().ok()?.upload.as_ref()
}

/// Whether a record closes an upload.
pub(super) fn is_manifest(record: &Consumed) -> bool {
    upload_of(record).is_some_and(|upload| matches!(upload.part(), Part::Manifest { .. }))
}
