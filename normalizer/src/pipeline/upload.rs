//! Large uploads. When a manifest is read from `raw.uploads`, its chunks are read again, from the first one, and mapped as a
//! stream. Until then, or until the upload is given up, the committed offset is not moved past its first chunk, so that a
//! restarted normalizer reads the upload again. The commit's mark says what was handled after that chunk; those records are not
//! mapped again.

use std::{
    io::BufRead,
    time::{Duration, SystemTime},
};

use schemas::{
    event::{Outcome, Reading},
    rejection::Reason,
    upload::{self, Upload},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    chunks::{Chunks, Ending},
    config::NormalizerConfig,
    consume::Raw,
    error::NormalizerError,
    event::{Counts, PANICKED, SKIPPED, event, log_panic, outcome, raw},
    open::{Open, Unclosed, Uploads},
    produce::{Window, count},
    record::{Consumed, upload_of},
};
use crate::{
    normalized::Rejection,
    refusal::{Refused, refused},
    registry,
    withheld::withheld,
};

/// A batch is passed on when it has this many events.
const BATCH_EVENTS: usize = 1_000;
/// A batch is passed on when it has this many bytes.
const BATCH_BYTES: usize = 512 * 1024;

const NEVER_CLOSED: Refused =
    refused(Reason::UploadIncomplete, "the upload was never completed: its sender or the ingress stopped");
const OTHER_CHUNKS: Refused = refused(Reason::BrokenRecord, "the chunks are not those that the manifest describes");

/// Gives up the uploads to which nothing was added for the configured time: each ends as a rejection at the position of its
/// first chunk.
///
/// A manifest that already exists must be read first. So an upload is given up only when a record that was appended more than
/// `wait` after its last chunk has been read, or when the whole log has been read and `wait` is over by this machine's clock.
/// Returns whether any upload was given up.
pub(super) async fn give_up(
    open: &mut Open,
    wait: Duration,
    raw: &Raw,
    window: &mut Window<'_>,
) -> Result<bool, NormalizerError> {
    let mut is_any = false;
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    for (place, Uploads { unclosed, read_until_ms }) in &mut open.0 {
        let over = |at_ms: i64| move |upload: &Unclosed| upload.last_ms.saturating_add(wait_ms) < at_ms;
        let mut until_ms = *read_until_ms;
        if unclosed.values().any(over(now_ms)) && raw.is_at_end(*place).await? {
            until_ms = now_ms;
        }
        let ids: Vec<Uuid> = unclosed.iter().filter(|(_, one)| over(until_ms)(one)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(upload) = unclosed.get(&id) {
                refuse(&upload.first, Rejection::whole(NEVER_CLOSED), window).await?;
            }
            unclosed.remove(&id);
            is_any = true;
        }
    }
    open.forget_ended();
    Ok(is_any)
}

/// Ends a record with a rejection.
async fn refuse(record: &Consumed, rejection: Rejection, window: &mut Window<'_>) -> Result<(), NormalizerError> {
    let counts = Counts { rejections: 1, ..Counts::default() };
    let outcome = outcome(window.config(), record, counts);
    window.rejections(record, vec![rejection]).await?;
    window.outcome(&outcome).await?;
    window.acknowledged().await?;
    count([&outcome].into_iter());
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
pub(super) async fn map(manifest: &Consumed, window: &mut Window<'_>) -> Result<(), NormalizerError> {
    let Some(upload::UploadPart::Manifest { first, .. }) = upload_of(manifest).map(Upload::part) else { return Ok(()) };
    let config = window.config();
    let counts = if config.skip.is_skipped(manifest) {
        window.rejections(manifest, vec![Rejection::whole(SKIPPED)]).await?;
        Counts { rejections: 1, ..Counts::default() }
    } else {
        produced(manifest, window).await?
    };
    window.acknowledged().await?;
    let closing = outcome(config, manifest, counts);
    let opening = Outcome { offset: first, ..outcome(config, manifest, Counts::default()) };
    let outcomes = [closing, opening];
    for outcome in &outcomes {
        window.outcome(outcome).await?;
    }
    window.acknowledged().await?;
    count(outcomes.iter());
    Ok(())
}

/// Maps an upload on a blocking thread, and produces its events.
async fn produced(manifest: &Consumed, window: &mut Window<'_>) -> Result<Counts, NormalizerError> {
    let (batches, mut taken) = mpsc::channel(1);
    let (own, record) = (window.config().clone(), manifest.without_body());
    let mapping = tokio::task::spawn_blocking(move || read(&own, &record, &batches));
    let mut result = Ok(());
    while let Some(EventBatch { readings, rejections, .. }) = taken.recv().await {
        result = window.readings(manifest.topic, &readings).await;
        if result.is_ok() {
            result = window.rejections(manifest, rejections).await;
        }
        if result.is_err() {
            break;
        }
    }
    // The mapping ends when the receiver of its batches is dropped.
    drop(taken);
    let counts = mapping.await?;
    result?;
    counts
}

/// Reads and maps an upload. Blocks. Ends early when the receiver of the batches is dropped.
fn read(
    config: &NormalizerConfig,
    manifest: &Consumed,
    batches: &mpsc::Sender<EventBatch>,
) -> Result<Counts, NormalizerError> {
    let mut chunks = Chunks::of(config, manifest)?;
    let mut mapping = UploadMapping { batches, batch: EventBatch::default(), counts: Counts::default() };
    mapping.stream(config, manifest, &mut chunks);
    match chunks.finish()? {
        Ending::Whole => {}
        Ending::Other => mapping.refuse(OTHER_CHUNKS),
    }
    Ok(mapping.finish())
}

/// The state of mapping one upload.
struct UploadMapping<'p> {
    batches: &'p mpsc::Sender<EventBatch>,
    batch: EventBatch,
    counts: Counts,
}

impl UploadMapping<'_> {
    /// Maps the stream. If the mapping panics, the items before the panic are kept and the rest is refused.
    fn stream(&mut self, config: &NormalizerConfig, manifest: &Consumed, input: &mut impl BufRead) {
        let Ok(record) = raw(config, manifest) else { return };
        let read = withheld(|| registry::stream(&record, input, &mut |found| self.take(found)));
        match read {
            Ok(unknown) => self.counts.unknown = unknown,
            Err(_panicked) => {
                log_panic(manifest);
                self.refuse(PANICKED);
            }
        }
    }

    /// Adds an item. Returns whether to continue.
    fn take(&mut self, found: Result<Reading, Rejection>) -> bool {
        match found.and_then(|reading| event(&reading)) {
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

    fn refuse(&mut self, refused: Refused) {
        self.counts.rejections += 1;
        self.batch.rejections.push(Rejection::whole(refused));
    }

    fn finish(self) -> Counts {
        // If the receiver is gone, the receiving side reports the error.
        let _taken = self.batches.blocking_send(self.batch);
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
    fn a_panic_in_the_middle_of_an_upload_leaves_what_stands_before_and_one_refusal() {
        let (batches, mut taken) = mpsc::channel(1);
        let mut mapping = UploadMapping { batches: &batches, batch: EventBatch::default(), counts: Counts::default() };
        let (config, manifest) = super::super::event::tests::upload();
        let good = r#"<Record type="HKQuantityTypeIdentifierHeartRate" unit="count/min" value="60" startDate="2026-02-01 07:00:00 +0000"/>"#;
        let input = format!("<HealthData>{good}{good}<Record ");
        mapping.stream(&config, &manifest, &mut Panicking(input.as_bytes()));
        let counts = mapping.finish();
        assert_eq!((counts.readings, counts.rejections), (2, 1));
        let EventBatch { readings, rejections, .. } = taken.blocking_recv().unwrap();
        assert_eq!((readings.len(), rejections.len()), (2, 1));
        assert_eq!((rejections[0].item, rejections[0].reason), (None, Reason::MappingFailed));
    }
}
