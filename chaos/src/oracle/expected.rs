//! What must be stored, computed from the raw records with the pure mapping and nothing else of the stages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use normalizer::{Normalized, Rejection, normalize};
use schemas::{
    event::{Assignment, Reading},
    raw::{Headers, RawRecord},
    receipt::{RawPosition, ReceiptKey},
    rejection::Reason,
    upload::UploadPart,
    version::Version,
};
use store::reading::Row;
use uuid::Uuid;

use super::raw::{Record, Records};

/// The position of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) raw: RawPosition,
    pub(crate) item: i32,
}

/// One content of a reading.
pub(crate) struct Content {
    pub(crate) version: Version,
    /// The reading from which the row is made.
    pub(crate) reading: Reading,
}

/// A reading, and all items that deliver it.
#[derive(Default)]
pub(crate) struct ExpectedReading {
    pub(crate) contents: BTreeMap<Uuid, Content>,
    pub(crate) delivered: BTreeSet<Item>,
}

/// A refused item; -1 is the whole message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Letter {
    pub(crate) at: Item,
    pub(crate) stage: String,
    pub(crate) reason: String,
}

/// The numbers in the outcome of a raw record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) items: i32,
    pub(crate) readings: i32,
    pub(crate) commands: i32,
    pub(crate) rejections: i32,
}

/// What must be stored.
#[derive(Default)]
pub(crate) struct Expected {
    pub(crate) readings: BTreeMap<Uuid, ExpectedReading>,
    pub(crate) letters: BTreeSet<Letter>,
    pub(crate) outcomes: BTreeMap<RawPosition, Counts>,
    pub(crate) commands: BTreeMap<RawPosition, Assignment>,
    /// The SHA-256 of each document.
    pub(crate) documents: BTreeSet<[u8; 32]>,
}

impl ExpectedReading {
    /// The content that is current.
    pub(crate) fn current(&self) -> Option<(Uuid, &Content)> {
        let contents = self.contents.iter().map(|(hash, content)| (*hash, content));
        contents.max_by_key(|(hash, content)| (content.version, *hash))
    }

    /// The items that no row represents.
    pub(crate) fn duplicates(&self) -> BTreeSet<Item> {
        let rows: BTreeSet<Item> = self.contents.values().map(|content| row_of(&content.version)).collect();
        self.delivered.difference(&rows).copied().collect()
    }
}

/// The item from which the row of a version is made.
pub(crate) fn row_of(version: &Version) -> Item {
    let row = &version.row;
    let raw =
        RawPosition { topic: row.topic, topic_epoch: row.topic_epoch, partition: row.partition, offset: row.offset };
    Item { raw, item: row.item }
}

/// Computes what must be stored for these records.
pub(crate) fn expected(records: &Records, key: &ReceiptKey) -> Expected {
    let mut expected = Expected::default();
    let uploads = Uploads::of(records);
    for (position, record) in records {
        match &record.headers {
            Err(_) => expected.add_refusal(*position, Reason::BrokenRecord),
            Ok(headers) => match headers.upload.as_ref().map(|upload| (upload.id(), upload.part())) {
                None => expected.add(*position, map(*position, record, headers, &record.body), key),
                Some((id, UploadPart::Manifest { .. })) => {
                    let body = uploads.bodies.get(&id).map_or(&[][..], Vec::as_slice);
                    expected.add(*position, map(*position, record, headers, body), key);
                }
                Some((id, UploadPart::Chunk { number: 0 })) if !uploads.complete.contains(&id) => {
                    expected.add_refusal(*position, Reason::UploadIncomplete);
                }
                Some((_, UploadPart::Chunk { .. })) => _ = expected.outcomes.insert(*position, Counts::default()),
            },
        }
    }
    expected
}

fn map(position: RawPosition, record: &Record, headers: &Headers, body: &[u8]) -> Normalized {
    normalize(&RawRecord {
        topic: position.topic,
        topic_epoch: 0,
        partition: position.partition,
        offset: position.offset,
        received_at: record.received_at,
        headers: headers.clone(),
        body,
    })
}

/// The large uploads among the records.
#[derive(Default)]
struct Uploads {
    /// The chunks of each, joined.
    bodies: HashMap<Uuid, Vec<u8>>,
    /// Those with a manifest.
    complete: BTreeSet<Uuid>,
}

impl Uploads {
    fn of(records: &Records) -> Self {
        let mut uploads = Self::default();
        for record in records.values() {
            let Some(upload) = record.headers.as_ref().ok().and_then(|headers| headers.upload.as_ref()) else {
                continue;
            };
            match upload.part() {
                UploadPart::Chunk { .. } => uploads.bodies.entry(upload.id()).or_default().extend(&record.body),
                UploadPart::Manifest { .. } => _ = uploads.complete.insert(upload.id()),
            }
        }
        uploads
    }
}

impl Expected {
    fn add(&mut self, position: RawPosition, normalized: Normalized, key: &ReceiptKey) {
        let Normalized { readings, commands, documents, rejections, unknown: _ } = normalized;
        let refused: usize = rejections.iter().map(|rejection| rejection.item_count as usize).sum();
        let counts = Counts {
            items: int(readings.len() + commands.len() + refused),
            readings: int(readings.len()),
            commands: int(commands.len()),
            rejections: int(refused),
        };
        self.outcomes.insert(position, counts);
        for rejection in rejections {
            self.add_rejection(position, &rejection);
        }
        self.commands.extend(commands.into_iter().map(|command| (position, command)));
        self.documents.extend(documents.iter().map(|document| document.sha256));
        for reading in readings {
            self.add_reading(position, reading, key);
        }
    }

    /// Adds the refusal of a whole record.
    fn add_refusal(&mut self, position: RawPosition, reason: Reason) {
        self.outcomes.insert(position, Counts { items: 1, rejections: 1, ..Counts::default() });
        self.add_letter(Item { raw: position, item: -1 }, "normalizer", reason);
    }

    fn add_rejection(&mut self, raw: RawPosition, rejection: &Rejection) {
        match rejection.item {
            None => self.add_letter(Item { raw, item: -1 }, "normalizer", rejection.reason),
            Some(first) => {
                for item in first..first.saturating_add(rejection.item_count) {
                    let item = i32::try_from(item).unwrap_or(i32::MAX);
                    self.add_letter(Item { raw, item }, "normalizer", rejection.reason);
                }
            }
        }
    }

    fn add_letter(&mut self, at: Item, stage: &str, reason: Reason) {
        self.letters.insert(Letter { at, stage: stage.to_owned(), reason: reason.as_str().to_owned() });
    }

    fn add_reading(&mut self, raw: RawPosition, reading: Reading, key: &ReceiptKey) {
        let at = Item { raw, item: reading.provenance.item };
        // Postgres cannot store some texts and numbers; the sink finds out before it tries.
        let reading = match Row::new(reading, key) {
            Ok(row) => row.reading,
            Err(_) => return self.add_letter(at, "sink", Reason::RowRefused),
        };
        let version = Version::of(&reading);
        let expected = self.readings.entry(reading.reading_id).or_default();
        expected.delivered.insert(at);
        let content = Uuid::from_bytes(reading.content);
        match expected.contents.get_mut(&content) {
            None => _ = expected.contents.insert(content, Content { version, reading }),
            Some(known) => {
                if !known.version.keeps_row_over(&version) {
                    known.reading = reading;
                }
                known.version = known.version.join(version);
            }
        }
    }
}

fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
