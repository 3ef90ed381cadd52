//! A message into an item: an event, a dead letter, or the wish for a schema.

use schemas::{
    codec::{Fingerprint, SchemaCache, WriterSchemaError, encode},
    dead_letter::{DeadLetter, Stage},
    event::{Assignment, Document, Outcome, Reading},
    receipt::ReceiptKey,
    rejection::Reason,
    topic::Topics,
};

use crate::{
    batch::{Body, Item, Origin, Source},
    copy::{RowFault, is_storable},
    row::Row,
};

/// A message's headers.
pub type Headers<'a> = Vec<(&'a str, &'a [u8])>;

/// What decoding needs beside the message.
pub struct Decoder {
    /// Schemas of other releases.
    pub schemas: SchemaCache,
    /// Signs the receipts that the view shows.
    pub key: ReceiptKey,
    /// The topics' names.
    pub topics: Topics,
}

impl Decoder {
    /// Reads a message.
    ///
    /// # Errors
    /// The fingerprint of a schema that is not known yet: look it up, then wait.
    pub fn item(&self, origin: Origin, value: &[u8], headers: &Headers<'_>) -> Result<Item, Fingerprint> {
        let body = match origin.place.0 {
            Source::Readings => self.schemas.decode::<Reading>(value).map(|event| self.reading(origin, event)),
            Source::Assignments => self.schemas.decode::<Assignment>(value).map(|event| self.assignment(origin, event)),
            Source::Documents => self.schemas.decode::<Document>(value).map(|event| Body::Document(Box::new(event))),
            Source::Outcomes => self.schemas.decode::<Outcome>(value).map(Body::Outcome),
            Source::DeadLetters => Ok(match DeadLetter::read(headers.iter().copied(), &[]) {
                Ok(letter) => Body::Letter(Box::new(letter)),
                Err(error) => self.refuse(origin, Reason::EventUnreadable, &error.to_string(), value.to_vec()),
            }),
        };
        let body = match body {
            Ok(body) => body,
            Err(WriterSchemaError::Unknown(fingerprint)) => return Err(fingerprint),
            Err(
                error @ (WriterSchemaError::Unusable(_)
                | WriterSchemaError::TooOld { .. }
                | WriterSchemaError::Unresolvable { .. }
                | WriterSchemaError::Read(_)),
            ) => self.refuse(origin, Reason::EventUnreadable, &error.to_string(), value.to_vec()),
        };
        Ok(Item { origin, body })
    }

    /// The dead letter of an item that Postgres refuses.
    #[must_use]
    pub fn refuse_item(&self, item: &Item, detail: &str) -> Item {
        let (value, position) = match &item.body {
            Body::Reading(row) => (encode(&row.reading), Some(reading_position(&row.reading))),
            Body::Assignment(event) => (encode(event.as_ref()), Some((command_position(event), None))),
            Body::Document(event) => (encode(event.as_ref()), None),
            Body::Outcome(event) => (encode(event), None),
            Body::Letter(_) | Body::Refused(_) => (Vec::new(), None),
        };
        Item { origin: item.origin, body: self.letter(item.origin, Reason::RowRefused, detail, (value, position)) }
    }

    fn reading(&self, origin: Origin, reading: Reading) -> Body {
        // The event itself is the dead letter's value.
        match Row::new(reading, &self.key) {
            Ok(row) => Body::Reading(Box::new(row)),
            Err((reading, fault)) => self.letter(
                origin,
                Reason::RowRefused,
                &fault.to_string(),
                (encode(reading.as_ref()), Some(reading_position(&reading))),
            ),
        }
    }

    fn assignment(&self, origin: Origin, event: Assignment) -> Body {
        if event.effective_from.is_none_or(is_storable) && is_storable(event.received_at) {
            return Body::Assignment(Box::new(event));
        }
        let position = Some((command_position(&event), None));
        self.letter(origin, Reason::RowRefused, &RowFault::Time.to_string(), (encode(&event), position))
    }

    fn refuse(&self, origin: Origin, reason: Reason, detail: &str, value: Vec<u8>) -> Body {
        self.letter(origin, reason, detail, (value, None))
    }

    fn letter(
        &self,
        origin: Origin,
        reason: Reason,
        detail: &str,
        (value, position): (Vec<u8>, Option<(String, Option<i32>)>),
    ) -> Body {
        let (raw_position, item) = position.map_or((None, None), |(raw, item)| (Some(raw), item));
        Body::Refused(Box::new(DeadLetter {
            origin_topic: origin.place.0.topic(&self.topics),
            origin_partition: origin.place.1,
            origin_offset: origin.offset,
            origin_timestamp: origin.timestamp,
            item,
            stage: Stage::Sink,
            reason,
            detail: detail.to_owned(),
            item_count: 1,
            content_hmac: None,
            raw_position,
            value,
        }))
    }
}

/// The raw position and the item of a reading, so that `trace` finds the letter.
fn reading_position(reading: &Reading) -> (String, Option<i32>) {
    let from = &reading.provenance;
    let topic = reading.raw_topic().as_str();
    (format!("{topic}:{}:{}:{}", from.topic_epoch, from.partition, from.offset), Some(from.item))
}

fn command_position(event: &Assignment) -> String {
    format!("raw.devices:{}:{}:{}", event.topic_epoch, event.partition, event.offset)
}
