//! Mapped records that are compared together.

use std::ops::Range;

use normalizer::{Rejection, Totals};
use schemas::event::{Assignment, Reading};
use tokio::sync::mpsc;

/// A batch is compared when it has this many records.
const BATCH_RECORDS: usize = 1_000;
/// A batch is compared when it has this many readings. A record is in one batch, however many readings it has, except an upload.
pub(super) const BATCH_READINGS: usize = 5_000;

/// The mapped content of a record, or of a piece of a large upload.
pub(super) struct Mapped {
    pub(super) offset: i64,
    pub(super) readings: Vec<Reading>,
    pub(super) command: Option<Assignment>,
    pub(super) documents: Vec<[u8; 32]>,
    pub(super) rejections: Vec<Rejection>,
    /// Whether this is the last piece of the record.
    pub(super) is_last: bool,
    /// These records no longer exist. Their readings are not missing.
    pub(super) gone: Option<Range<i64>>,
}

impl Mapped {
    /// A record, or the last piece of an upload, without content.
    pub(super) const fn of(offset: i64) -> Self {
        Self {
            offset,
            readings: Vec::new(),
            command: None,
            documents: Vec::new(),
            rejections: Vec::new(),
            is_last: true,
            gone: None,
        }
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            readings: self.readings.len(),
            commands: usize::from(self.command.is_some()),
            rejections: self.rejections.iter().map(|rejection| rejection.item_count as usize).sum(),
        }
    }
}

/// Records that were read, and the offset after the last one of them.
pub(super) struct Read {
    pub(super) records: Vec<Mapped>,
    pub(super) next: i64,
}

/// Collects records until they are compared together.
pub(super) struct Batch<'s> {
    records: Vec<Mapped>,
    readings: usize,
    /// The number of records that were read since the last batch, also those that are not compared.
    read: usize,
    batches: &'s mpsc::Sender<Read>,
}

impl<'s> Batch<'s> {
    pub(super) const fn new(batches: &'s mpsc::Sender<Read>) -> Self {
        Self { records: Vec::new(), readings: 0, read: 0, batches }
    }

    /// Adds a record. Returns whether to continue.
    pub(super) fn push(&mut self, record: Mapped) -> bool {
        let next = if record.is_last { record.offset + 1 } else { record.offset };
        self.readings += record.readings.len();
        self.records.push(record);
        (self.records.len() < BATCH_RECORDS && self.readings < BATCH_READINGS) || self.send(next)
    }

    /// Notes that a record was read that is not compared. Returns whether to continue.
    pub(super) fn pass(&mut self, offset: i64) -> bool {
        self.read += 1;
        self.read < 10 * BATCH_RECORDS || self.send(offset + 1)
    }

    /// Notes that records no longer exist. They are passed on alone. Returns whether to continue.
    pub(super) fn pass_gone(&mut self, gone: Range<i64>) -> bool {
        if !self.send(gone.start) {
            return false;
        }
        let next = gone.end;
        self.records.push(Mapped { gone: Some(gone), ..Mapped::of(next - 1) });
        self.send(next)
    }

    /// Passes the records on. Returns whether somebody still receives; if not, the receiving side reports the error.
    pub(super) fn send(&mut self, next: i64) -> bool {
        (self.readings, self.read) = (0, 0);
        self.batches.blocking_send(Read { records: std::mem::take(&mut self.records), next }).is_ok()
    }
}
