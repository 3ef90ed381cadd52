//! Maps a raw record outside of the stage, for a replay: the same items that the stage would publish or refuse.

use rdkafka::{Message, message::OwnedMessage};
use schemas::{
    event::Reading,
    format::RawTopic,
    raw::{HeaderError, Headers},
};

use super::{
    config::NormalizerConfig,
    error::NormalizerError,
    event::{PANICKED, encode_citing, log_panic, map_record, too_large_documents},
    record::{Consumed, headers_of, is_manifest},
    upload::read_items,
};
use crate::{
    catch_panic::catch_panic,
    normalized::{Normalized, Rejection},
    registry::{self, Each},
};

/// A message from a raw topic, with its headers parsed.
pub struct RawMessage {
    topic: RawTopic,
    /// The headers, or the one that cannot be read.
    pub headers: Result<Headers, HeaderError>,
    message: OwnedMessage,
}

impl RawMessage {
    /// Parses the headers of a message.
    #[must_use]
    pub fn new(topic: RawTopic, message: OwnedMessage) -> Self {
        Self { topic, headers: headers_of(topic, &message), message }
    }

    /// Returns the offset of the message.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.message.offset()
    }
}

/// Maps a record of a raw topic, and passes each reading and each rejection to `each`. A large upload is mapped at its manifest;
/// its other records have no items. Device commands have no readings. Returns whether the record was mapped. Blocks.
///
/// # Errors
/// The chunks of an upload cannot be read.
pub fn map_again(
    config: &NormalizerConfig,
    raw: RawMessage,
    each: &mut dyn FnMut(Result<Reading, Rejection>) -> bool,
) -> Result<bool, NormalizerError> {
    let RawMessage { topic, headers, message } = raw;
    let record = Consumed { topic, headers, message, is_handled: false, assignment: 0 };
    if topic == RawTopic::Uploads && is_manifest(&record) {
        return read_items(config, &record, each).map(|_unknown| true);
    }
    let mapped = catch_panic(|| map_record(config, registry::normalize, &record)).unwrap_or_else(|_panicked| {
        log_panic(&record);
        Some(Rejection::whole(PANICKED).into())
    });
    let is_mapped = mapped.is_some();
    pass_on(mapped.unwrap_or_default(), each);
    Ok(is_mapped)
}

fn pass_on(normalized: Normalized, each: Each<'_>) {
    let Normalized { readings, documents, rejections, .. } = normalized;
    let too_large = too_large_documents(&documents);
    let readings = readings.into_iter().map(|reading| encode_citing(&reading, &too_large).map(|_event| reading));
    for item in readings.chain(rejections.into_iter().map(Err)) {
        if !each(item) {
            return;
        }
    }
}
