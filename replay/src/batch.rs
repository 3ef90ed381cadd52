//! Mapped records that are compared together.

use normalizer::Rejection;
use schemas::event::Reading;
use tokio::sync::mpsc;

/// A batch is compared when it has this many records.
const BATCH_RECORDS: usize = 1_000;
/// A batch is compared when it has this many readings. A record is in one batch, however many readings it has, except an upload.
pub(super) const BATCH_READINGS: usize = 5_000;

/// The mapped content of a record, or of a piece of a large upload.
pub(super) struct Mapped {
    pub(super) offset: i64,
    pub(super) readings: Vec<Reading>,
    pub(super) rejections: Vec<Rejection>,
    /// Whether this is the last piece of the record.
    pub(super) is_last: bool,
}

impl Mapped {
    /// A record, or the last piece of an upload, without content.
    pub(super) const fn of(offset: i64) -> Self {
        Self { offset, readings: Vec::new(), rejections: Vec::new(), is_last: true }
    }
}

/// Collects records until they are compared together.
pub(super) struct Batch<'s> {
    records: Vec<Mapped>,
    readings: usize,
    batches: &'s mpsc::Sender<Vec<Mapped>>,
}

impl<'s> Batch<'s> {
    pub(super) const fn new(batches: &'s mpsc::Sender<Vec<Mapped>>) -> Self {
        Self { records: Vec::new(), readings: 0, batches }
    }

    /// Adds a record. Returns whether to continue.
    pub(super) fn push(&mut self, record: Mapped) -> bool {
        self.readings += record.readings.len();
        self.records.push(record);
        (self.records.len() < BATCH_RECORDS && self.readings < BATCH_READINGS) || self.send()
    }

    /// Passes the records on. Returns whether somebody still receives; if not, the receiving side reports the error.
    pub(super) fn send(&mut self) -> bool {
        self.readings = 0;
        self.records.is_empty() || self.batches.blocking_send(std::mem::take(&mut self.records)).is_ok()
    }
}
