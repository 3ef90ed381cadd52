//! Reads and maps a range of raw records, and passes them on in batches. All functions block.

use std::{sync::atomic::Ordering, time::Duration};

use normalizer::{MappedItem, RawMessage, map_again};
use schemas::{
    format::RawTopic,
    upload::{Upload, UploadPart},
};
use store::replay::{Pass, RawRange};
use tokio::sync::mpsc;

use crate::{
    batch::{BATCH_READINGS, Batch, Mapped, Read},
    defaults::EarlierDefaults,
    error::ReplayError,
    scope::GAP,
    state::Replay,
};

impl Replay {
    /// Reads and maps a range. Blocks.
    pub(super) fn read(
        &self,
        (range, pass): (&RawRange, Pass),
        earlier: &EarlierDefaults,
        batches: &mpsc::Sender<Read>,
    ) -> Result<(), ReplayError> {
        let mut batch = Batch::new(batches);
        let parts = if pass == Pass::Find { vec![*range] } else { self.scope.parts(range, GAP) };
        for mut part in parts {
            let read_part = |part: &RawRange, batch: &mut Batch<'_>| {
                self.log.read(part, |message| {
                    self.progress.read.fetch_add(1, Ordering::Relaxed);
                    self.hold_rate();
                    let mut raw = RawMessage::new(range.topic, message);
                    self.scope.prepare(&mut raw, earlier);
                    let is_covered =
                        || self.scope.has_position(range, raw.offset()) && self.scope.has_record(raw.headers().ok());
                    if !is_chunk(&raw) && (pass == Pass::Find || is_covered()) {
                        self.map(range, &raw, batch)
                    } else if pass == Pass::Compare
                        && self.scope.is_redrive()
                        && is_covered()
                        && self.has_end(range, &raw)?
                    {
                        // The upload was given up, and its end came later: nothing of it is refused.
                        Ok(batch.push(Mapped::of(raw.offset())))
                    } else {
                        Ok(batch.pass(raw.offset()))
                    }
                })
            };
            while let Some(gone) = read_part(&part, &mut batch)? {
                part.first = gone.end;
                self.progress.read.fetch_add(u64::try_from(gone.end - gone.start).unwrap_or(0), Ordering::Relaxed);
                if !batch.pass_gone(gone) {
                    return Ok(());
                }
            }
        }
        batch.send(range.end);
        Ok(())
    }

    /// Maps a record into the batch. A large upload is split into pieces. Returns whether to continue.
    fn map(&self, range: &RawRange, raw: &RawMessage, batch: &mut Batch<'_>) -> Result<bool, ReplayError> {
        let offset = raw.offset();
        if self.lacks_chunks(range, raw)? {
            return Ok(batch.pass_gone(offset..offset + 1));
        }
        let (mut piece, mut is_open) = (Mapped::of(offset), true);
        let is_mapped = map_again(&self.config.normalizer, raw, &mut |item| {
            match item {
                MappedItem::Reading(reading) => piece.readings.push(*reading),
                MappedItem::Command(command) => piece.command = Some(*command),
                MappedItem::Document(document) => piece.documents.push(document.sha256),
                MappedItem::Rejection(rejection) => piece.rejections.push(rejection),
            }
            if range.topic == RawTopic::Uploads && piece.readings.len() >= BATCH_READINGS {
                let full = std::mem::replace(&mut piece, Mapped::of(offset));
                is_open = batch.push(Mapped { is_last: false, ..full });
            }
            is_open
        });
        let is_mapped = match is_mapped {
            Err(_) if self.lacks_chunks(range, raw)? => return Ok(batch.pass_gone(offset..offset + 1)),
            is_mapped => is_mapped?,
        };
        Ok(is_open && if is_mapped { batch.push(piece) } else { batch.pass(offset) })
    }

    /// Whether Kafka has deleted chunks of the large upload that a manifest describes.
    pub(super) fn lacks_chunks(&self, range: &RawRange, raw: &RawMessage) -> Result<bool, ReplayError> {
        let Some(UploadPart::Manifest { first, .. }) = upload_of(raw).map(Upload::part) else { return Ok(false) };
        Ok(first < self.log.bounds(range)?.start)
    }

    /// Whether the end of the upload to which a chunk belongs is on the topic.
    fn has_end(&self, range: &RawRange, chunk: &RawMessage) -> Result<bool, ReplayError> {
        let Some(id) = upload_of(chunk).map(Upload::id) else { return Ok(false) };
        let behind = RawRange { first: chunk.offset() + 1, end: self.log.bounds(range)?.end, ..*range };
        let mut is_found = false;
        self.log.read(&behind, |message| {
            let other = RawMessage::new(range.topic, message);
            is_found = !is_chunk(&other) && upload_of(&other).is_some_and(|upload| upload.id() == id);
            Ok(!is_found)
        })?;
        Ok(is_found)
    }

    /// Waits as long as the rate requires.
    pub(super) fn hold_rate(&self) {
        let Some(rate) = self.config.records_per_second else { return };
        let read = self.read.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_nanos(read.saturating_mul(1_000_000_000) / u64::from(rate.max(1)));
        if let Some(ahead) = due.checked_sub(self.started.elapsed()) {
            std::thread::sleep(ahead);
        }
    }
}

/// Whether a record is a chunk of a large upload. The outcome of the upload is that of its manifest.
pub(super) fn is_chunk(raw: &RawMessage) -> bool {
    matches!(upload_of(raw).map(Upload::part), Some(UploadPart::Chunk { .. }))
}

fn upload_of(raw: &RawMessage) -> Option<&Upload> {
    raw.headers().ok()?.upload.as_ref()
}
