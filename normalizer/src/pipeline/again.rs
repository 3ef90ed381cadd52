//! Maps a raw record outside of the stage, for a replay: the same items that the stage would publish or refuse.

use rdkafka::{Message, message::OwnedMessage};
use schemas::{
    event::{Assignment, Document, Reading},
    format::{Defaults, RawTopic},
    raw::{HeaderError, Headers, RecordKind},
};

use super::{
    config::NormalizerConfig,
    error::NormalizerError,
    event::{PANICKED, encode_citing, encode_reading, log_panic, map_record, received_at, too_large_documents},
    record::{Consumed, headers_of, is_manifest},
    upload::read_items,
};
use crate::{
    catch_panic::catch_panic,
    normalized::{Normalized, Rejection},
    registry,
};

/// A message from a raw topic, with its headers parsed.
pub struct RawMessage {
    pub(super) record: Consumed,
}

impl RawMessage {
    /// Parses the headers of a message.
    #[must_use]
    pub fn new(topic: RawTopic, message: OwnedMessage) -> Self {
        let headers = headers_of(topic, &message);
        Self { record: Consumed { topic, headers, message, is_handled: false, assignment: 0 } }
    }

    /// Returns the headers, or the one that cannot be read.
    ///
    /// # Errors
    /// The header that cannot be read.
    pub fn headers(&self) -> Result<&Headers, HeaderError> {
        self.record.headers.as_ref().map_err(|error| *error)
    }

    /// Declares whose documented defaults apply, if the record says nothing about it.
    pub fn add_defaults(&mut self, defaults: Defaults) {
        if let Ok(headers) = &mut self.record.headers
            && matches!(headers.kind, RecordKind::Payload(_))
        {
            headers.defaults.get_or_insert(defaults);
        }
    }

    /// Returns the offset of the message.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.record.message.offset()
    }

    /// Returns the broker's append time, microseconds since the epoch.
    #[must_use]
    pub fn received_at(&self) -> i64 {
        received_at(&self.record)
    }

    /// Returns the message without its body.
    #[must_use]
    pub fn without_body(&self) -> Self {
        Self { record: self.record.without_body() }
    }
}

/// What the mapping makes of a raw record.
pub enum MappedItem {
    /// A reading.
    Reading(Box<Reading>),
    /// A device command.
    Command(Box<Assignment>),
    /// A document that a reading of the record cites. It comes before that reading.
    Document(Box<Document>),
    /// A refused item.
    Rejection(Rejection),
}

/// Maps a record of a raw topic, and passes each item to `each` until that returns `false`. A large upload is mapped at its manifest;
/// its other records have no items. Returns whether the record was mapped. Blocks.
///
/// # Errors
/// The chunks of an upload cannot be read.
pub fn map_again(
    config: &NormalizerConfig,
    raw: &RawMessage,
    each: &mut dyn FnMut(MappedItem) -> bool,
) -> Result<bool, NormalizerError> {
    let record = &raw.record;
    let reading_or_rejection = |item: Result<Reading, Rejection>| match item {
        Ok(reading) => MappedItem::Reading(Box::new(reading)),
        Err(rejection) => MappedItem::Rejection(rejection),
    };
    if record.topic == RawTopic::Uploads && is_manifest(record) {
        let mut each = |item: Result<Reading, Rejection>| {
            each(reading_or_rejection(item.and_then(|reading| encode_reading(&reading).map(|_event| reading))))
        };
        return read_items(config, record, &mut each).map(|_unknown| true);
    }
    let mapped = catch_panic(|| map_record(config, registry::normalize, record)).unwrap_or_else(|_panicked| {
        log_panic(record);
        Some(Rejection::whole(PANICKED).into())
    });
    let Some(Normalized { readings, commands, documents, rejections, unknown: _ }) = mapped else { return Ok(false) };
    let too_large = too_large_documents(&documents);
    let documents = documents.into_iter().filter(|document| !too_large.contains(&document.sha256));
    let readings = readings.into_iter().map(|reading| encode_citing(&reading, &too_large).map(|_event| reading));
    let items = (documents.map(|document| MappedItem::Document(Box::new(document))))
        .chain(readings.chain(rejections.into_iter().map(Err)).map(reading_or_rejection))
        .chain(commands.into_iter().map(|command| MappedItem::Command(Box::new(command))));
    for item in items {
        if !each(item) {
            break;
        }
    }
    Ok(true)
}
