//! Encodes the readings of a batch as one COPY, ordered by reading id.
//!
//! The consumer thread does this while Postgres works on the previous batch. The writer only fills in the ids of
//! dictionary entries, and looks up each id once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemas::{
    event::{Coding, Device},
    version::{Appended, Version},
};
use store::{
    copy::{HEADER, TRAILER},
    reading::{Encoded, Row, padded},
};
use uuid::Uuid;

use crate::item::{Body, Item};

/// The rows of a batch, before the ids of their dictionary entries are filled in.
pub struct EncodedReadings {
    bytes: Vec<u8>,
    rows: u64,
    codings: Vec<Coding>,
    devices: Vec<Device>,
    placeholders: Vec<Placeholder>,
    /// The indexes of the readings among the items, ordered by reading id.
    order: Vec<usize>,
    /// Readings that were delivered from more than one position.
    repeated: Vec<Uuid>,
}

/// Where the id of a dictionary entry belongs, and the index of the entry.
enum Placeholder {
    /// The id of a coding, as a bigint.
    Coding { at: usize, entry: usize },
    /// The id of a device, as a bigint.
    Device { at: usize, entry: usize },
    /// The id of a coding, as digits within JSON.
    ComponentCoding { at: usize, entry: usize },
}

/// All deliveries of one reading in a batch.
pub(crate) struct Deliveries<'a> {
    pub(crate) contents: BTreeMap<Uuid, (Version, &'a Row)>,
    pub(crate) positions: BTreeSet<Appended>,
}

impl EncodedReadings {
    /// Encodes the readings among the items.
    #[must_use]
    pub fn of(items: &[Item]) -> Self {
        // Ordered by id, so that two sinks lock rows in the same order.
        let mut order: Vec<(Uuid, usize)> = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| reading(item).map(|row| (row.reading.reading_id, index)))
            .collect();
        order.sort_unstable();
        let mut encoder = Encoder::default();
        encoder.bytes.reserve(768 * order.len());
        encoder.bytes.extend_from_slice(HEADER);
        let mut repeated = Vec::new();
        for group in order.chunk_by(|(id, _), (next, _)| id == next) {
            if let [(_, index)] = group {
                items.get(*index).and_then(reading).into_iter().for_each(|row| encoder.append(row, row.version));
                continue;
            }
            let deliveries = Deliveries::of(group.iter().filter_map(|(_, index)| items.get(*index).and_then(reading)));
            deliveries.contents.values().for_each(|(version, row)| encoder.append(row, *version));
            if deliveries.positions.len() > 1 {
                repeated.extend(group.first().map(|(id, _)| *id));
            }
        }
        encoder.bytes.extend_from_slice(&TRAILER);
        let Encoder { bytes, rows, codings, devices, placeholders } = encoder;
        let order = order.into_iter().map(|(_, index)| index).collect();
        Self { bytes, rows, codings: codings.owned(), devices: devices.owned(), placeholders, order, repeated }
    }

    /// The number of rows in the COPY.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// The number of readings that were delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.order.len() as u64
    }

    /// The codings whose ids are required, each once.
    pub(crate) fn codings(&self) -> &[Coding] {
        &self.codings
    }

    /// The devices whose ids are required, each once.
    pub(crate) fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Readings that were delivered from more than one position.
    pub(crate) fn repeated(&self) -> &[Uuid] {
        &self.repeated
    }

    /// All deliveries of a reading. `items` must be the items that this was made from.
    pub(crate) fn deliveries<'a>(&self, items: &'a [Item], id: Uuid) -> Deliveries<'a> {
        let row = |index: &usize| items.get(*index).and_then(reading);
        let id_at = |index: &usize| row(index).map(|row| row.reading.reading_id);
        let start = self.order.partition_point(|index| id_at(index) < Some(id));
        let end = self.order.partition_point(|index| id_at(index) <= Some(id));
        Deliveries::of(self.order.get(start..end).unwrap_or_default().iter().filter_map(row))
    }

    /// Returns the COPY with these ids, which are in the order of [`EncodedReadings::codings`] and [`EncodedReadings::devices`].
    pub(crate) fn fill_ids(&mut self, codings: &[i64], devices: &[i64]) -> &[u8] {
        let id = |ids: &[i64], entry: usize| ids.get(entry).copied().unwrap_or_default();
        for placeholder in &self.placeholders {
            match *placeholder {
                Placeholder::Coding { at, entry } => fill(&mut self.bytes, at, &id(codings, entry).to_be_bytes()),
                Placeholder::Device { at, entry } => fill(&mut self.bytes, at, &id(devices, entry).to_be_bytes()),
                Placeholder::ComponentCoding { at, entry } => {
                    fill(&mut self.bytes, at, padded(id(codings, entry)).as_bytes());
                }
            }
        }
        &self.bytes
    }
}

fn reading(item: &Item) -> Option<&Row> {
    match &item.body {
        Body::Reading(row) => Some(row),
        Body::Assignment(_) | Body::Document(_) | Body::Outcome(_) | Body::DeadLetter(_) | Body::Refused(_) => None,
    }
}

fn fill(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(target) = bytes.get_mut(at..at + with.len()) {
        target.copy_from_slice(with);
    }
}

/// [`EncodedReadings`] under construction.
#[derive(Default)]
struct Encoder<'a> {
    bytes: Vec<u8>,
    rows: u64,
    codings: Entries<'a, Coding>,
    devices: Entries<'a, Device>,
    placeholders: Vec<Placeholder>,
}

impl<'a> Encoder<'a> {
    /// Appends a row under `version`, which is its own version joined with those of other deliveries.
    fn append(&mut self, row: &'a Row, version: Version) {
        let start = self.bytes.len();
        let joined;
        let encoded = if version == row.version {
            row.encoded()
        } else {
            joined = row.encoded_as(version);
            &joined
        };
        let Encoded { bytes, placeholders } = encoded;
        self.bytes.extend_from_slice(bytes);
        self.rows += 1;
        let reading = &row.reading;
        let entry = self.codings.index_of(&reading.code);
        self.placeholders.push(Placeholder::Coding { at: start + placeholders.code_id, entry });
        for (offset, device) in [(placeholders.device_id, &reading.device), (placeholders.gateway_id, &reading.gateway)]
        {
            if let (Some(offset), Some(device)) = (offset, device) {
                self.placeholders
                    .push(Placeholder::Device { at: start + offset, entry: self.devices.index_of(device) });
            }
        }
        for (offset, component) in placeholders.component_code_ids.iter().zip(&reading.components) {
            self.placeholders.push(Placeholder::ComponentCoding {
                at: start + offset,
                entry: self.codings.index_of(&component.code),
            });
        }
    }
}

/// Dictionary entries, in the order in which they were first used.
struct Entries<'a, T> {
    indexes: HashMap<&'a T, usize>,
    all: Vec<&'a T>,
}

impl<T> Default for Entries<'_, T> {
    fn default() -> Self {
        Self { indexes: HashMap::new(), all: Vec::new() }
    }
}

impl<'a, T: Eq + std::hash::Hash + Clone> Entries<'a, T> {
    fn index_of(&mut self, entry: &'a T) -> usize {
        *self.indexes.entry(entry).or_insert_with(|| {
            self.all.push(entry);
            self.all.len() - 1
        })
    }

    fn owned(&self) -> Vec<T> {
        self.all.iter().copied().cloned().collect()
    }
}

impl<'a> Deliveries<'a> {
    fn of(deliveries: impl Iterator<Item = &'a Row>) -> Self {
        let mut merged = Self { contents: BTreeMap::new(), positions: BTreeSet::new() };
        for row in deliveries {
            merged.positions.insert(row.version.row);
            merged
                .contents
                .entry(row.content())
                .and_modify(|(version, kept)| {
                    if !version.keeps_row_over(&row.version) {
                        *kept = row;
                    }
                    *version = version.join(row.version);
                })
                .or_insert((row.version, row));
        }
        merged
    }
}
