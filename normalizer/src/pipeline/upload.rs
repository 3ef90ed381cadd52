//! Large uploads. When a manifest is read from `raw.uploads`, its chunks are read again, from the first one, and mapped as a
//! stream. Until then, or until the upload is given up, the committed offset is not moved past its first chunk, so that a
//! restarted normalizer reads the upload again. The commit's mark says what was handled after that chunk; those records are not
//! mapped again.

use std::{
    io::BufRead,
    time::{Duration, Instant},
};

use schemas::{
    event::{Outcome, Reading, Unknown},
    rejection::Reason,
    upload::{self, Upload},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    chunks::{Chunks, ManifestCheck},
    config::NormalizerConfig,
    consume::RawConsumer,
    error::NormalizerError,
    event::{Counts, PANICKED, SKIPPED, encode_reading, log_panic, outcome, raw_record},
    open_uploads::{OpenUpload, OpenUploads, PartitionUploads},
    produce::{Window, count_outcomes},
    record::{Consumed, upload_of},
};
use crate::{
    catch_panic::catch_panic,
    normalized::Rejection,
    refusal::{Refused, refused},
    registry::{self, Each},
};

/// A batch is passed on when it has this many events.
const BATCH_EVENTS: usize = 1_000;
/// A batch is passed on when it has this many bytes.
const BATCH_BYTES: usize = 512 * 1024;

const NEVER_COMPLETED: Refused =
    refused(Reason::UploadIncomplete, "the upload was never completed: its sender or the ingress stopped");
const OTHER_CHUNKS: Refused = refused(Reason::BrokenRecord, "the chunks are not those that the manifest describes");

/// Gives up the uploads to which nothing was added for the configured time: each ends as a rejection at the position of its
/// first chunk.
///
/// A manifest that already exists must be read first. So an upload is given up only when a record that was appended more than
/// `wait` after its last chunk has been read, or when the whole log has been read and `wait` is over since this process read the
/// chunk. The clock of this machine, which may be wrong, is not compared with the broker's. Returns whether any upload was given up.
pub(super) async fn give_up_expired(
    open_uploads: &mut OpenUploads,
    wait: Duration,
    raw: &RawConsumer,
    window: &mut Window<'_>,
) -> Result<bool, NormalizerError> {
    let mut is_any_given_up = false;
    let now = Instant::now();
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    for (raw_partition, PartitionUploads { open, read_until_ms }) in &mut open_uploads.0 {
        let is_late = |upload: &OpenUpload| upload.last_ms.saturating_add(wait_ms) < *read_until_ms;
        let is_over = |upload: &OpenUpload| now.duration_since(upload.last_read) > wait;
        let is_at_end = open.values().any(is_over) && raw.is_at_end(*raw_partition).await?;
        let expired = open.iter().filter(|(_, upload)| is_late(upload) || (is_at_end && is_over(upload)));
        let ids: Vec<Uuid> = expired.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(upload) = open.get(&id) {
                refuse(&upload.first, Rejection::whole(NEVER_COMPLETED), window).await?;
            }
            open.remove(&id);
            is_any_given_up = true;
        }
    }
    open_uploads.remove_empty();
    Ok(is_any_given_up)
}

/// Ends a record with a rejection.
async fn refuse(record: &Consumed, rejection: Rejection, window: &mut Window<'_>) -> Result<(), NormalizerError> {
    let counts = Counts { rejections: 1, ..Counts::default() };
    let outcome = outcome(window.config(), record, counts);
    window.send_rejections(record, vec![rejection]).await?;
    window.send_outcome(&outcome).await?;
    window.wait_for_all().await?;
    count_outcomes([&outcome].into_iter());
    Ok(())
}

/// Events of an upload that are passed on together.
#[derive(Default)]
struct EventBatch {
    /// The key and value of each reading.
    readings: Vec<(String, Vec<u8>)>,
    rejections: Vec<Rejection>,
    bytes: usize,
}

impl EventBatch {
    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.readings.len() + self.rejections.len() >= BATCH_EVENTS
    }
}

/// Maps the upload of a manifest, and produces its events and the outcomes of the manifest and of the first chunk.
pub(super) async fn map_upload(manifest: &Consumed, window: &mut Window<'_>) -> Result<(), NormalizerError> {
    let Some(upload::UploadPart::Manifest { first, .. }) = upload_of(manifest).map(Upload::part) else { return Ok(()) };
    let config = window.config();
    let counts = if config.skip.is_skipped(manifest) {
        window.send_rejections(manifest, vec![Rejection::whole(SKIPPED)]).await?;
        Counts { rejections: 1, ..Counts::default() }
    } else {
        produce_events(manifest, window).await?
    };
    window.wait_for_all().await?;
    let closing = outcome(config, manifest, counts);
    let opening = Outcome { offset: first, ..outcome(config, manifest, Counts::default()) };
    let outcomes = [closing, opening];
    for outcome in &outcomes {
        window.send_outcome(outcome).await?;
    }
    window.wait_for_all().await?;
    count_outcomes(outcomes.iter());
    Ok(())
}

/// Maps an upload on a blocking thread, and produces its events.
async fn produce_events(manifest: &Consumed, window: &mut Window<'_>) -> Result<Counts, NormalizerError> {
    let (batches, mut receiver) = mpsc::channel(1);
    let (own, record) = (window.config().clone(), manifest.without_body());
    let mapping = tokio::task::spawn_blocking(move || read_upload(&own, &record, &batches));
    let mut result = Ok(());
    while let Some(EventBatch { readings, rejections, .. }) = receiver.recv().await {
        result = window.send_readings(manifest.topic, &readings).await;
        if result.is_ok() {
            result = window.send_rejections(manifest, rejections).await;
        }
        if result.is_err() {
            break;
        }
    }
    // The mapping ends when the receiver of its batches is dropped.
    drop(receiver);
    let counts = mapping.await?;
    result?;
    counts
}

/// Reads and maps an upload. Blocks. Ends early when the receiver of the batches is dropped.
fn read_upload(
    config: &NormalizerConfig,
    manifest: &Consumed,
    batches: &mpsc::Sender<EventBatch>,
) -> Result<Counts, NormalizerError> {
    let mut mapping = UploadMapping { batches, batch: EventBatch::default(), counts: Counts::default() };
    let unknown = read_items(config, manifest, &mut |found| mapping.add_item(found))?;
    mapping.counts.unknown = unknown;
    Ok(mapping.finish())
}

/// Reads the chunks of an upload, and passes each item to `each` until that returns `false`. Returns the shapes that the mapping
/// does not know. Blocks.
pub(super) fn read_items(
    config: &NormalizerConfig,
    manifest: &Consumed,
    each: Each<'_>,
) -> Result<Vec<Unknown>, NormalizerError> {
    let mut chunks = Chunks::open(config, manifest)?;
    let unknown = stream(config, manifest, &mut chunks, each);
    match chunks.finish()? {
        ManifestCheck::Matches => {}
        ManifestCheck::Differs => {
            each(Err(Rejection::whole(OTHER_CHUNKS)));
        }
    }
    Ok(unknown)
}

/// Maps the stream. If the mapping panics, the items before the panic are kept and the rest is refused.
fn stream(config: &NormalizerConfig, manifest: &Consumed, input: &mut impl BufRead, each: Each<'_>) -> Vec<Unknown> {
    let Ok(record) = raw_record(config, manifest) else { return Vec::new() };
    catch_panic(|| registry::stream(&record, input, each)).unwrap_or_else(|_panicked| {
        log_panic(manifest);
        each(Err(Rejection::whole(PANICKED)));
        Vec::new()
    })
}

/// The state of mapping one upload.
struct UploadMapping<'p> {
    batches: &'p mpsc::Sender<EventBatch>,
    batch: EventBatch,
    counts: Counts,
}

impl UploadMapping<'_> {
    /// Adds an item. Returns whether to continue.
    fn add_item(&mut self, found: Result<Reading, Rejection>) -> bool {
        match found.and_then(|reading| encode_reading(&reading)) {
            Ok((key, value)) => {
                self.counts.readings += 1;
                self.batch.bytes += key.len() + value.len();
                self.batch.readings.push((key, value));
            }
            Err(rejection) => {
                self.counts.rejections += rejection.item_count as usize;
                self.batch.bytes += rejection.bytes.len();
                rejection.add_to(&mut self.batch.rejections);
            }
        }
        !self.batch.is_full() || self.batches.blocking_send(std::mem::take(&mut self.batch)).is_ok()
    }

    fn finish(self) -> Counts {
        // If the receiver is gone, the receiving side reports the error.
        let _sent = self.batches.blocking_send(self.batch);
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::*;

    /// Contains the beginning of an export, and panics after it.
    struct Panicking<'b>(&'b [u8]);

    impl Read for Panicking<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            service::capped::read_buffered(self, buffer)
        }
    }

    impl BufRead for Panicking<'_> {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            assert!(!self.0.is_empty(), "canary");
            Ok(self.0)
        }

        fn consume(&mut self, amount: usize) {
            self.0 = &self.0[amount..];
        }
    }

    #[test]
    fn a_panic_during_an_upload_keeps_the_earlier_readings_and_adds_one_rejection() {
        let (batches, mut receiver) = mpsc::channel(1);
        let mut mapping = UploadMapping { batches: &batches, batch: EventBatch::default(), counts: Counts::default() };
        let (config, manifest) = super::super::event::tests::upload();
        let good = r#"<Record type="HKQuantityTypeIdentifierHeartRate" unit="count/min" value="60" startDate="2026-02-01 07:00:00 +0000"/>"#;
        let input = format!("<HealthData>{good}{good}<Record ");
        stream(&config, &manifest, &mut Panicking(input.as_bytes()), &mut |found| mapping.add_item(found));
        let counts = mapping.finish();
        assert_eq!((counts.readings, counts.rejections), (2, 1));
        let EventBatch { readings, rejections, .. } = receiver.blocking_recv().unwrap();
        assert_eq!((readings.len(), rejections.len()), (2, 1));
        assert_eq!((rejections[0].item, rejections[0].reason), (None, Reason::MappingFailed));
    }
}
