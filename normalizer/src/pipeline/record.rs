//! A consumed raw record.

use rdkafka::{
    Message,
    message::{Headers as _, OwnedMessage},
};
use schemas::{
    format::RawTopic,
    raw::{HeaderError, Headers},
    upload::{Upload, UploadPart},
};

/// A partition of a raw topic.
pub(super) type RawPartition = (RawTopic, i32);

/// Parses the headers of a message from a raw topic.
///
/// # Errors
/// The header that cannot be read.
pub(super) fn headers_of(topic: RawTopic, message: &impl Message) -> Result<Headers, HeaderError> {
    let headers = message.headers();
    let pairs = headers.into_iter().flat_map(|headers| headers.iter());
    Headers::read(topic, pairs.filter_map(|header| header.value.map(|value| (header.key, value))))
}

/// A raw record with its headers parsed.
pub(super) struct Consumed {
    pub(super) topic: RawTopic,
    pub(super) headers: Result<Headers, HeaderError>,
    pub(super) message: OwnedMessage,
    /// Whether an earlier process has mapped it. Then it is read only to find the uploads that are open.
    pub(super) is_handled: bool,
    /// The number of the partition assignment during which it was received.
    pub(super) assignment: u64,
}

impl Consumed {
    /// Returns the record without its body.
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

/// The size of a record's body in bytes.
pub(super) fn bytes_of(record: Option<&Consumed>) -> usize {
    record.and_then(|record| record.message.payload()).map_or(0, <[u8]>::len)
}

/// The upload that a record belongs to.
pub(super) fn upload_of(record: &Consumed) -> Option<&Upload> {
    record.headers.as_ref().ok()?.upload.as_ref()
}

/// Whether a record is the manifest of an upload.
pub(super) fn is_manifest(record: &Consumed) -> bool {
    upload_of(record).is_some_and(|upload| matches!(upload.part(), UploadPart::Manifest { .. }))
}
