//! Reads and maps a range of raw records, and passes them on in batches. All functions block.

use std::{sync::atomic::Ordering, time::Duration};

use normalizer::{Rejection, map_again};
use rdkafka::{
    Message as _,
    message::{Headers as _, OwnedMessage},
};
use schemas::{
    event::Reading,
    format::RawTopic,
    raw::Headers,
    upload::{Upload, UploadPart},
};
use store::replay::RawRange;
use tokio::sync::mpsc;

use crate::{
    error::ReplayError,
    run::{Pass, Replay},
};

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
    const fn of(offset: i64) -> Self {
        Self { offset, readings: Vec::new(), rejections: Vec::new(), is_last: true }
    }
}

/// Collects records until they are compared together.
struct Batch<'s> {
    records: Vec<Mapped>,
    readings: usize,
    batches: &'s mpsc::Sender<Vec<Mapped>>,
}

impl Batch<'_> {
    /// Adds a record. Returns whether to continue.
    fn push(&mut self, record: Mapped) -> bool {
        self.readings += record.readings.len();
        self.records.push(record);
        (self.records.len() < BATCH_RECORDS && self.readings < BATCH_READINGS) || self.send()
    }

    /// Passes the records on. Returns whether somebody still receives; if not, the receiving side reports the error.
    fn send(&mut self) -> bool {
        self.readings = 0;
        self.records.is_empty() || self.batches.blocking_send(std::mem::take(&mut self.records)).is_ok()
    }
}

impl Replay {
    /// Reads and maps a range. Blocks.
    pub(super) fn read(
        &self,
        range: &RawRange,
        pass: Pass,
        batches: &mpsc::Sender<Vec<Mapped>>,
    ) -> Result<(), ReplayError> {
        let mut batch = Batch { records: Vec::new(), readings: 0, batches };
        self.log.read(range, |message| {
            self.progress.read.fetch_add(1, Ordering::Relaxed);
            self.hold_rate();
            if pass == Pass::Find || self.is_compared(range.topic, &message) {
                self.map(range.topic, message, &mut batch)
            } else {
                Ok(true)
            }
        })?;
        batch.send();
        Ok(())
    }

    /// Maps a record into the batch. A large upload is split into pieces. Returns whether to continue.
    fn map(&self, topic: RawTopic, message: OwnedMessage, batch: &mut Batch<'_>) -> Result<bool, ReplayError> {
        let offset = message.offset();
        let (mut piece, mut is_open) = (Mapped::of(offset), true);
        let is_mapped = map_again(&self.config.normalizer, topic, message, &mut |item| {
            match item {
                Ok(reading) => piece.readings.push(reading),
                Err(rejection) => piece.rejections.push(rejection),
            }
            if topic == RawTopic::Uploads && piece.readings.len() >= BATCH_READINGS {
                let full = std::mem::replace(&mut piece, Mapped::of(offset));
                is_open = batch.push(Mapped { is_last: false, ..full });
            }
            is_open
        })?;
        Ok(is_open && (!is_mapped || batch.push(piece)))
    }

    /// Waits as long as the rate requires.
    fn hold_rate(&self) {
        let Some(rate) = self.config.records_per_second else { return };
        let read = self.read.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_nanos(read.saturating_mul(1_000_000_000) / u64::from(rate.max(1)));
        if let Some(ahead) = due.checked_sub(self.started.elapsed()) {
            std::thread::sleep(ahead);
        }
    }

    /// Whether a record is compared: the scope covers it, and it is not a chunk of a large upload, which has no outcome of its own.
    fn is_compared(&self, topic: RawTopic, message: &OwnedMessage) -> bool {
        let pairs = message.headers().into_iter().flat_map(|headers| headers.iter());
        let headers =
            Headers::read(topic, pairs.filter_map(|header| header.value.map(|value| (header.key, value)))).ok();
        let part = headers.as_ref().and_then(|headers| headers.upload.as_ref()).map(Upload::part);
        !matches!(part, Some(UploadPart::Chunk { .. })) && self.config.scope.has_record(headers.as_ref())
    }
}
