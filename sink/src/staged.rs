//! Encodes the readings of a batch as one COPY, ordered by reading id.
//!
//! The consumer thread does this while Postgres works on the previous batch. The writer only fills in the numbers of
//! dictionary entries, and looks up each number once.

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

/// The rows of a batch, before the numbers of their dictionary entries are filled in.
pub struct Staged {
    bytes: Vec<u8>,
    rows: u64,
    codings: Vec<Coding>,
    devices: Vec<Device>,
    blanks: Vec<Blank>,
    /// The indexes of the readings among the items, ordered by reading id.
    order: Vec<usize>,
    /// Readings that were delivered from more than one position.
    repeated: Vec<Uuid>,
}

/// Where the number of a dictionary entry belongs, and the index of the entry.
enum Blank {
    /// The number of a coding, as a bigint.
    Coding { at: usize, entry: usize },
    /// The number of a device, as a bigint.
    Device { at: usize, entry: usize },
    /// The number of a coding, as digits within JSON.
    Part { at: usize, entry: usize },
}

/// All deliveries of one reading in a batch.
pub(crate) struct Group<'a> {
    pub(crate) contents: BTreeMap<Uuid, (Version, &'a Row)>,
    pub(crate) delivered: BTreeSet<Appended>,
}

impl Staged {
    /// Encodes the readings among the items.
    #[must_use]
    pub fn of(items: &[Item]) -> Self {
        // Ordered by id, so that two sinks lock rows in the same order.
        let mut order: Vec<(Uuid, usize)> = items
            .iter()
            .enumerate()
            .filter_map(|(place, item)| reading(item).map(|row| (row.reading.reading_id, place)))
            .collect();
        order.sort_unstable();
        let mut stage = Stage::default();
        stage.bytes.reserve(768 * order.len());
        stage.bytes.extend_from_slice(HEADER);
        let mut repeated = Vec::new();
        for deliveries in order.chunk_by(|(one, _), (next, _)| one == next) {
            if let [(_, place)] = deliveries {
                items.get(*place).and_then(reading).into_iter().for_each(|row| stage.put(row, row.version));
                continue;
            }
            let group = Group::of(deliveries.iter().filter_map(|(_, place)| items.get(*place).and_then(reading)));
            group.contents.values().for_each(|(version, row)| stage.put(row, *version));
            if group.delivered.len() > 1 {
                repeated.extend(deliveries.first().map(|(id, _)| *id));
            }
        }
        stage.bytes.extend_from_slice(&TRAILER);
        let Stage { bytes, rows, codings, devices, blanks } = stage;
        let order = order.into_iter().map(|(_, place)| place).collect();
        Self { bytes, rows, codings: codings.owned(), devices: devices.owned(), blanks, order, repeated }
    }

    /// The number of rows in the COPY.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// The number of readings that were delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.order.len() as u64
    }

    /// The codings whose numbers are required, each once.
    pub(crate) fn codings(&self) -> &[Coding] {
        &self.codings
    }

    /// The devices whose numbers are required, each once.
    pub(crate) fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Readings that were delivered from more than one position.
    pub(crate) fn repeated(&self) -> &[Uuid] {
        &self.repeated
    }

    /// All deliveries of a reading. `items` must be the items that this was made from.
    pub(crate) fn group<'a>(&self, items: &'a [Item], id: Uuid) -> Group<'a> {
        let row = |place: &usize| items.get(*place).and_then(reading);
        let id_at = |place: &usize| row(place).map(|row| row.reading.reading_id);
        let start = self.order.partition_point(|place| id_at(place) < Some(id));
        let end = self.order.partition_point(|place| id_at(place) <= Some(id));
        Group::of(self.order.get(start..end).unwrap_or_default().iter().filter_map(row))
    }

    /// Returns the COPY with these numbers, which are in the order of [`Staged::codings`] and [`Staged::devices`].
    pub(crate) fn filled(&mut self, codings: &[i64], devices: &[i64]) -> &[u8] {
        let number = |numbers: &[i64], entry: usize| numbers.get(entry).copied().unwrap_or_default();
        for blank in &self.blanks {
            match *blank {
                Blank::Coding { at, entry } => fill(&mut self.bytes, at, &number(codings, entry).to_be_bytes()),
                Blank::Device { at, entry } => fill(&mut self.bytes, at, &number(devices, entry).to_be_bytes()),
                Blank::Part { at, entry } => fill(&mut self.bytes, at, padded(number(codings, entry)).as_bytes()),
            }
        }
        &self.bytes
    }
}

fn reading(item: &Item) -> Option<&Row> {
    match &item.body {
        Body::Reading(row) => Some(row),
        Body::Assignment(_) | Body::Document(_) | Body::Outcome(_) | Body::Letter(_) | Body::Refused(_) => None,
    }
}

fn fill(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + with.len()) {
        place.copy_from_slice(with);
    }
}

/// A [`Staged`] under construction.
#[derive(Default)]
struct Stage<'a> {
    bytes: Vec<u8>,
    rows: u64,
    codings: Entries<'a, Coding>,
    devices: Entries<'a, Device>,
    blanks: Vec<Blank>,
}

impl<'a> Stage<'a> {
    /// Appends a row under `version`, which is its own version joined with those of other deliveries.
    fn put(&mut self, row: &'a Row, version: Version) {
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
        let entry = self.codings.number(&reading.code);
        self.blanks.push(Blank::Coding { at: start + placeholders.code_id, entry });
        for (blank, device) in [(placeholders.device_id, &reading.device), (placeholders.gateway_id, &reading.gateway)]
        {
            if let (Some(blank), Some(device)) = (blank, device) {
                self.blanks.push(Blank::Device { at: start + blank, entry: self.devices.number(device) });
            }
        }
        for (blank, part) in placeholders.component_code_ids.iter().zip(&reading.components) {
            self.blanks.push(Blank::Part { at: start + blank, entry: self.codings.number(&part.code) });
        }
    }
}

/// Dictionary entries, in the order in which they were first used.
struct Entries<'a, T> {
    numbers: HashMap<&'a T, usize>,
    all: Vec<&'a T>,
}

impl<T> Default for Entries<'_, T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), all: Vec::new() }
    }
}

impl<'a, T: Eq + std::hash::Hash + Clone> Entries<'a, T> {
    fn number(&mut self, entry: &'a T) -> usize {
        *self.numbers.entry(entry).or_insert_with(|| {
            self.all.push(entry);
            self.all.len() - 1
        })
    }

    fn owned(&self) -> Vec<T> {
        self.all.iter().copied().cloned().collect()
    }
}

impl<'a> Group<'a> {
    fn of(deliveries: impl Iterator<Item = &'a Row>) -> Self {
        let mut group = Self { contents: BTreeMap::new(), delivered: BTreeSet::new() };
        for row in deliveries {
            group.delivered.insert(row.version.row);
            group
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
        group
    }
}
