//! Encodes the readings of a batch as one COPY, ordered by reading id.
//!
//! The consumer thread does this while Postgres works on the previous batch. The writer only fills in the ids of
//! dictionary entries, and looks up each id once.

use std::collections::{BTreeMap, HashMap};

use schemas::{
    event::{Coding, Device},
    version::Appended,
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
    /// Readings that were delivered more than once, or withdrawn.
    merged: Vec<Uuid>,
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
        let mut merged = Vec::new();
        for group in order.chunk_by(|(id, _), (next, _)| id == next) {
            let rows = distinct(group.iter().filter_map(|(_, index)| items.get(*index).and_then(reading)));
            for row in &rows {
                encoder.append(row);
            }
            if rows.len() > 1 || rows.iter().any(|row| row.reading.withdrawn) {
                merged.extend(group.first().map(|(id, _)| *id));
            }
        }
        encoder.bytes.extend_from_slice(&TRAILER);
        let Encoder { bytes, rows, codings, devices, placeholders } = encoder;
        let order = order.into_iter().map(|(_, index)| index).collect();
        Self { bytes, rows, codings: codings.owned(), devices: devices.owned(), placeholders, order, merged }
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

    /// Readings that were delivered more than once, or withdrawn. They are merged, also if no row with the id is stored.
    pub(crate) fn merged(&self) -> &[Uuid] {
        &self.merged
    }

    /// All deliveries of a reading. `items` must be the items that this was made from.
    pub(crate) fn deliveries<'a>(&self, items: &'a [Item], id: Uuid) -> Vec<&'a Row> {
        let row = |index: &usize| items.get(*index).and_then(reading);
        let id_at = |index: &usize| row(index).map(|row| row.reading.reading_id);
        let start = self.order.partition_point(|index| id_at(index) < Some(id));
        let end = self.order.partition_point(|index| id_at(index) <= Some(id));
        distinct(self.order.get(start..end).unwrap_or_default().iter().filter_map(row))
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
    fn append(&mut self, row: &'a Row) {
        let start = self.bytes.len();
        let Encoded { bytes, placeholders } = row.encoded();
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

/// Returns the deliveries of one reading without repetitions: for each content and item, the one of the latest mapping.
fn distinct<'a>(deliveries: impl Iterator<Item = &'a Row>) -> Vec<&'a Row> {
    let mut latest: BTreeMap<(Uuid, Appended), &Row> = BTreeMap::new();
    for row in deliveries {
        let known = latest.entry((row.content(), row.version.row)).or_insert(row);
        if known.version.mapped_by < row.version.mapped_by {
            *known = row;
        }
    }
    latest.into_values().collect()
}
