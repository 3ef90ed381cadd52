//! Reads and maps a range of raw records, and passes them on in batches. All functions block.

use std::{sync::atomic::Ordering, time::Duration};

use normalizer::{RawMessage, map_again};
use schemas::{
    format::RawTopic,
    upload::{Upload, UploadPart},
};
use store::replay::RawRange;
use tokio::sync::mpsc;

use crate::{
    batch::{BATCH_READINGS, Batch, Mapped},
    error::ReplayError,
    state::{Pass, Replay},
};

impl Replay {
    /// Reads and maps a range. Blocks.
    pub(super) fn read(
        &self,
        range: &RawRange,
        pass: Pass,
        batches: &mpsc::Sender<Vec<Mapped>>,
    ) -> Result<(), ReplayError> {
        let mut batch = Batch::new(batches);
        self.log.read(range, |message| {
            self.progress.read.fetch_add(1, Ordering::Relaxed);
            self.hold_rate();
            let raw = RawMessage::new(range.topic, message);
            if pass == Pass::Find || self.is_compared(&raw) { self.map(range.topic, raw, &mut batch) } else { Ok(true) }
        })?;
        batch.send();
        Ok(())
    }

    /// Maps a record into the batch. A large upload is split into pieces. Returns whether to continue.
    fn map(&self, topic: RawTopic, raw: RawMessage, batch: &mut Batch<'_>) -> Result<bool, ReplayError> {
        let offset = raw.offset();
        let (mut piece, mut is_open) = (Mapped::of(offset), true);
        let is_mapped = map_again(&self.config.normalizer, raw, &mut |item| {
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
    fn is_compared(&self, raw: &RawMessage) -> bool {
        let headers = raw.headers.as_ref().ok();
        let part = headers.and_then(|headers| headers.upload.as_ref()).map(Upload::part);
        !matches!(part, Some(UploadPart::Chunk { .. })) && self.config.scope.has_record(headers)
    }
}
