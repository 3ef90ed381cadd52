//! Large uploads: what lies on `raw.uploads` as chunks is read again, from the first chunk, when its manifest is met, and
//! mapped as a stream. Until then, or until it is given up, nothing is committed behind its first chunk: a normalizer that
//! starts again meets all of it again. What was handled behind that chunk is in the commit's mark, and not mapped again.

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

/// A batch is handed over with so many events.
const BATCH_EVENTS: usize = 1_000;
/// The same, in bytes.
const BATCH_BYTES: usize = 512 * 1024;

const NEVER_CLOSED: Refused =
    refused(Reason::UploadIncomplete, "the upload was never closed: its sender or the ingress went away in the middle");
const OTHER_CHUNKS: Refused = refused(Reason::BrokenRecord, "the chunks are not those that the manifest closes");

/// Ends the uploads to which nothing was added for the configured wait: each is a refusal, in the place of its first chunk.
///
/// A manifest that is there already must be met first. So the wait is over when a record that was appended so much later
/// has been read, or, by this machine's clock, when all there is has been read. Whether it was so for any.
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

/// Ends a record as a refusal.
async fn refuse(record: &Consumed, rejection: Rejection, window: &mut Window<'_>) -> Result<(), NormalizerError> {
    let counts = Counts { rejections: 1, ..Counts::default() };
    let outcome = outcome(window.config(), record, counts);
    window.rejections(record, vec![rejection]).await?;
    window.outcome(&outcome).await?;
    window.acknowledged().await?;
    count([&outcome].into_iter());
    Ok(())
}

/// Events of an upload that are handed over together.
#[derive(Default)]
struct EventBatch {
    /// Key and value of each reading.
    readings: Vec<(String, Vec<u8>)>,
    rejections: Vec<Rejection>,
    bytes: usize,
}

impl EventBatch {
    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.readings.len() + self.rejections.len() >= BATCH_EVENTS
    }
}

/// Maps the upload that a manifest closes, and produces its events and the outcomes of the manifest and of the first chunk.
pub(super) async fn map(manifest: &Consumed, window: &mut Window<'_>) -> Result<(), NormalizerError> {
    let Some(upload::Part::Manifest { first, .. }) = upload_of(manifest).map(Upload::part) else { return Ok(()) };
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

/// Maps on a thread of its own, and produces what comes of it.
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
    // The mapping ends when nobody takes its batches.
    drop(taken);
    let counts = mapping.await?;
    result?;
    counts
}

/// Reads and maps; blocks. Ends early when nobody takes the batches.
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

/// An upload on its way through the mapping.
struct UploadMapping<'p> {
    batches: &'p mpsc::Sender<EventBatch>,
    batch: EventBatch,
    counts: Counts,
}

impl UploadMapping<'_> {
    /// Maps what is read. A panic costs what it stands before.
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

    /// Takes an item. Whether there shall be more.
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
        // Whether anybody takes it is seen by the one who would.
        let _taken = self.batches.blocking_send(self.batch);
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::*;

    /// Holds the beginning of an export, and panics behind it.
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
