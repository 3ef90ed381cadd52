//! Decodes a message into an item, or returns why it cannot be decoded yet.

use schemas::{
    codec::{Fingerprint, SchemaCache, WriterSchemaError, encode},
    dead_letter::{AboutPayload, DeadLetter, DeadLetterError, Stage},
    event::{Assignment, Document, Outcome, Reading},
    format::RawTopic,
    receipt::{RawPosition, ReceiptKey},
    rejection::Reason,
    topic::Topics,
};
use store::{reading::Row, validate};
use uuid::Uuid;

use crate::item::{Body, EventTopic, Item, Origin, ReceivedLetter};

/// The headers of a message.
pub type Headers<'a> = Vec<(&'a str, &'a [u8])>;

/// Why a message cannot be decoded now. In all cases the partition is blocked at this message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The schema of the message is unknown. The reader looks it up and waits until it is published.
    #[error("the schema {0} is not known yet")]
    Schema(Fingerprint),
    /// This release is too old for the message, or the message is not an event.
    #[error("{0}")]
    Other(String),
}

impl From<WriterSchemaError> for Unreadable {
    fn from(error: WriterSchemaError) -> Self {
        match error {
            WriterSchemaError::Unknown(fingerprint) => Self::Schema(fingerprint),
            WriterSchemaError::Unusable(_)
            | WriterSchemaError::TooOld { .. }
            | WriterSchemaError::Unresolvable { .. }
            | WriterSchemaError::Read(_) => Self::Other(error.to_string()),
        }
    }
}

impl From<DeadLetterError> for Unreadable {
    fn from(error: DeadLetterError) -> Self {
        Self::Other(error.to_string())
    }
}

/// What decoding requires besides the message.
pub struct Decoder {
    /// The known writer schemas, including those of other releases.
    pub schemas: SchemaCache,
    /// The key that signs the receipts shown in the view.
    pub key: ReceiptKey,
    /// The names of the topics.
    pub topics: Topics,
}

impl Decoder {
    /// Decodes a message. An event that Postgres cannot store becomes a refused item.
    ///
    /// # Errors
    /// [`Unreadable`]. It is never a reason for a dead letter, because a later release may be able to decode the message.
    pub fn item(&self, origin: Origin, value: &[u8], headers: &Headers<'_>) -> Result<Item, Unreadable> {
        let body = match origin.partition.topic {
            EventTopic::Readings | EventTopic::ReadingsBulk => {
                self.reading(origin, self.schemas.decode::<Reading>(value)?)
            }
            EventTopic::Assignments => Body::Assignment(Box::new(self.schemas.decode::<Assignment>(value)?)),
            EventTopic::Documents => Body::Document(Box::new(self.schemas.decode::<Document>(value)?)),
            EventTopic::Outcomes => Body::Outcome(self.schemas.decode::<Outcome>(value)?),
            EventTopic::DeadLetters => {
                let letter = DeadLetter::read(headers.iter().copied(), &[])?;
                Body::DeadLetter(Box::new(ReceivedLetter::new(letter, &self.key)))
            }
        };
        let item = Item { origin, body };
        let checked = match &item.body {
            Body::Assignment(event) => validate::assignment(event),
            Body::Document(event) => validate::document(event),
            Body::Outcome(event) => validate::outcome(event),
            Body::DeadLetter(received) => validate::dead_letter(&received.letter),
            // A reading is checked when its row is encoded. A refused item is not stored.
            Body::Reading(_) | Body::Refused(_) => Ok(()),
        };
        Ok(match checked {
            Ok(()) => item,
            Err(fault) => self.refuse_item(&item, &fault.to_string()),
        })
    }

    /// Returns the dead letter of a message that an operator skips. Its value is the message.
    #[must_use]
    pub fn skip(&self, origin: Origin, value: &[u8], why: &str) -> Item {
        let about = About { value: value.to_vec(), ..About::default() };
        Item { origin, body: self.refused(origin, Reason::Skipped, why, about) }
    }

    /// Returns the dead letter of an item that Postgres refuses.
    #[must_use]
    pub fn refuse_item(&self, item: &Item, detail: &str) -> Item {
        let about = match &item.body {
            Body::Reading(row) => About::reading(&row.reading),
            Body::Assignment(event) => About::command(event),
            Body::Document(event) => About { value: encode(event.as_ref()), ..About::default() },
            Body::Outcome(event) => About { value: encode(event), replay: event.replay, ..About::default() },
            Body::DeadLetter(_) | Body::Refused(_) => About::default(),
        };
        Item { origin: item.origin, body: self.refused(item.origin, Reason::RowRefused, detail, about) }
    }

    fn reading(&self, origin: Origin, reading: Reading) -> Body {
        match Row::new(reading, &self.key) {
            Ok(row) => Body::Reading(Box::new(row)),
            Err((reading, fault)) => {
                self.refused(origin, Reason::RowRefused, &fault.to_string(), About::reading(&reading))
            }
        }
    }

    fn refused(&self, origin: Origin, reason: Reason, detail: &str, about: About) -> Body {
        let About { raw_position, item, device, payload, replay, value } = about;
        Body::Refused(Box::new(DeadLetter {
            origin_topic: origin.partition.topic.full_name(&self.topics),
            origin_partition: origin.partition.number,
            origin_offset: origin.offset,
            origin_timestamp: origin.timestamp,
            item,
            stage: Stage::Sink,
            reason,
            detail: detail.to_owned(),
            item_count: 1,
            device,
            content_hmac: None,
            raw_position,
            about: payload,
            attempt: 1,
            replay,
            value,
        }))
    }
}

/// The subject of a dead letter, by which `trace` finds it.
#[derive(Default)]
struct About {
    raw_position: Option<String>,
    item: Option<i32>,
    device: Option<Uuid>,
    payload: AboutPayload,
    replay: Option<i32>,
    /// The encoded event; for a skipped message the bytes as they were read.
    value: Vec<u8>,
}

impl About {
    fn reading(reading: &Reading) -> Self {
        let from = &reading.provenance;
        let position = RawPosition {
            topic: reading.raw_topic(),
            topic_epoch: from.topic_epoch,
            partition: from.partition,
            offset: from.offset,
        };
        Self {
            raw_position: Some(position.to_string()),
            item: Some(from.item),
            device: reading.device.as_ref().map(|device| device.key),
            payload: AboutPayload {
                source: Some(reading.source.as_str().to_owned()),
                format: Some(from.format.as_str().to_owned()),
                provider: Some(reading.provider),
                ..AboutPayload::default()
            },
            replay: reading.replay,
            value: encode(reading),
        }
    }

    fn command(event: &Assignment) -> Self {
        let Assignment { topic_epoch, partition, offset, .. } = *event;
        let position = RawPosition { topic: RawTopic::Devices, topic_epoch, partition, offset };
        Self {
            raw_position: Some(position.to_string()),
            item: None,
            device: Some(event.device_key),
            payload: AboutPayload {
                source: Some(event.source.as_str().to_owned()),
                format: Some(event.command.as_str().to_owned()),
                ..AboutPayload::default()
            },
            replay: None,
            value: encode(event),
        }
    }
}
