//! Large uploads: what lies on `raw.uploads` as chunks is read again, from the first chunk, when its manifest is met, and
//! mapped as a stream. Until then, or until it is given up, nothing is committed behind its first chunk: a normalizer that
//! starts again meets all of it again. What was handled behind that chunk is in the commit's mark, and not mapped again.

use std::{
    collections::HashMap,
    io::BufRead,
    time::{Duration, SystemTime},
};

use rdkafka::Message;
use schemas::{
    event::{Outcome, Reading},
    format::{Format, Provider},
    rejection::Reason,
    upload::{self, Upload},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    NormalizerConfig, NormalizerError,
    chunks::{Chunks, Ending},
    consume::{Consumed, Place, Raw, upload_of},
    event::{Counts, PANICKED, SKIPPED, event, outcome, raw, told_panic},
    produce::{Window, count},
};
use crate::{
    Rejection, export_xml,
    observed::{Origin, Refused, refused},
    withheld::withheld,
};

/// Events of an upload that are handed over together.
const PART_EVENTS: usize = 1_000;
/// The same, in bytes.
const PART_BYTES: usize = 512 * 1024;

const NEVER_CLOSED: Refused =
    refused(Reason::UploadIncomplete, "the upload was never closed: its sender or the ingress went away in the middle");
const OTHER_CHUNKS: Refused = refused(Reason::BrokenRecord, "the chunks are not those that the manifest closes");

/// Uploads whose manifest was not met yet, by partition.
#[derive(Default)]
pub(super) struct Open(HashMap<Place, Uploads>);

#[derive(Default)]
struct Uploads {
    unclosed: HashMap<Uuid, Unclosed>,
    /// When the last record that was read was appended, milliseconds since the epoch.
    read_until_ms: i64,
}

struct Unclosed {
    first: Consumed,
    /// When the last chunk was appended, milliseconds since the epoch.
    last_ms: i64,
}

impl Open {
    /// Takes note of the chunks of a batch and of the manifests, whose uploads are over.
    pub(super) fn follow(&mut self, batch: &[Consumed]) {
        for record in batch {
            let place = (record.topic, record.message.partition());
            let appended_ms = record.message.timestamp().to_millis().unwrap_or(0);
            let Some(upload) = upload_of(record) else {
                if let Some(uploads) = self.0.get_mut(&place) {
                    uploads.read_until_ms = appended_ms;
                }
                continue;
            };
            let uploads = self.0.entry(place).or_default();
            uploads.read_until_ms = appended_ms;
            match upload.part() {
                upload::Part::Chunk { number: 0 } => {
                    let unclosed = Unclosed { first: record.without_body(), last_ms: appended_ms };
                    uploads.unclosed.insert(upload.id(), unclosed);
                }
                upload::Part::Chunk { .. } => {
                    if let Some(unclosed) = uploads.unclosed.get_mut(&upload.id()) {
                        unclosed.last_ms = appended_ms;
                    }
                }
                upload::Part::Manifest { .. } => {
                    uploads.unclosed.remove(&upload.id());
                }
            }
        }
        self.0.retain(|_, uploads| !uploads.unclosed.is_empty());
    }

    /// Forgets the partitions that are somebody else's.
    pub(super) fn keep_only(&mut self, is_owned: impl Fn(Place) -> bool) {
        self.0.retain(|place, _| is_owned(*place));
    }

    /// The first chunk of the earliest open upload of a partition: nothing behind it may be committed.
    pub(super) fn earliest(&self, place: Place) -> Option<i64> {
        self.0.get(&place)?.unclosed.values().map(|unclosed| unclosed.first.message.offset()).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the uploads to which nothing was added for the configured wait: each is a refusal, in the place of its first chunk.
    ///
    /// A manifest that is there already must be met first. So the wait is over when a record that was appended so much later
    /// has been read, or, by this machine's clock, when all there is has been read. Whether it was so for any.
    pub(super) async fn give_up(
        &mut self,
        wait: Duration,
        raw: &Raw,
        window: &mut Window<'_>,
    ) -> Result<bool, NormalizerError> {
        let mut is_any = false;
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        for (place, Uploads { unclosed, read_until_ms }) in &mut self.0 {
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
        self.0.retain(|_, uploads| !uploads.unclosed.is_empty());
        Ok(is_any)
    }
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

/// Some events of an upload.
#[derive(Default)]
struct Part {
    /// Key and value of each reading.
    readings: Vec<(String, Vec<u8>)>,
    rejections: Vec<Rejection>,
    bytes: usize,
}

impl Part {
    fn is_full(&self) -> bool {
        self.bytes >= PART_BYTES || self.readings.len() + self.rejections.len() >= PART_EVENTS
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
    let (parts, mut taken) = mpsc::channel(1);
    let (own, record) = (window.config().clone(), manifest.without_body());
    let mapping = tokio::task::spawn_blocking(move || read(&own, &record, &parts));
    let mut result = Ok(());
    while let Some(Part { readings, rejections, .. }) = taken.recv().await {
        result = window.readings(manifest.topic, &readings).await;
        if result.is_ok() {
            result = window.rejections(manifest, rejections).await;
        }
        if result.is_err() {
            break;
        }
    }
    // The mapping ends when nobody takes its parts.
    drop(taken);
    let counts = mapping.await?;
    result?;
    counts
}

/// Reads and maps; blocks. Ends early when nobody takes the parts.
fn read(config: &NormalizerConfig, manifest: &Consumed, parts: &mpsc::Sender<Part>) -> Result<Counts, NormalizerError> {
    let mut chunks = Chunks::of(config, manifest)?;
    let mut whole = Whole { parts, part: Part::default(), counts: Counts::default() };
    whole.stream(config, manifest, &mut chunks);
    match chunks.finish()? {
        Ending::Whole => {}
        Ending::Other => whole.refuse(OTHER_CHUNKS),
    }
    Ok(whole.finish())
}

/// An upload on its way through the mapping.
struct Whole<'p> {
    parts: &'p mpsc::Sender<Part>,
    part: Part,
    counts: Counts,
}

impl Whole<'_> {
    /// Maps what is read. A panic costs what it stands before.
    fn stream(&mut self, config: &NormalizerConfig, manifest: &Consumed, input: &mut impl BufRead) {
        let Ok(record) = raw(config, manifest) else { return };
        let origin = Origin { provider: Provider::HealthKit, format: Format::ExportXml };
        let read = withheld(|| export_xml::stream(&record, origin, input, &mut |found| self.take(found)));
        match read {
            Ok(unknown) => self.counts.unknown = unknown.of(origin.format),
            Err(_panicked) => {
                told_panic(manifest);
                self.refuse(PANICKED);
            }
        }
    }

    /// Takes an item. Whether there shall be more.
    fn take(&mut self, found: Result<Reading, Rejection>) -> bool {
        match found.and_then(|reading| event(&reading)) {
            Ok((key, value)) => {
                self.counts.readings += 1;
                self.part.bytes += key.len() + value.len();
                self.part.readings.push((key, value));
            }
            Err(rejection) => {
                self.counts.rejections += rejection.item_count as usize;
                self.part.bytes += rejection.bytes.len();
                rejection.add_to(&mut self.part.rejections);
            }
        }
        !self.part.is_full() || self.parts.blocking_send(std::mem::take(&mut self.part)).is_ok()
    }

    fn refuse(&mut self, refused: Refused) {
        self.counts.rejections += 1;
        self.part.rejections.push(Rejection::whole(refused));
    }

    fn finish(self) -> Counts {
        // Whether anybody takes it is seen by the one who would.
        let _taken = self.parts.blocking_send(self.part);
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
        let (parts, mut taken) = mpsc::channel(1);
        let mut whole = Whole { parts: &parts, part: Part::default(), counts: Counts::default() };
        let (config, manifest) = super::super::event::tests::upload();
        let good = r#"<Record type="HKQuantityTypeIdentifierHeartRate" unit="count/min" value="60" startDate="2026-02-01 07:00:00 +0000"/>"#;
        let input = format!("<HealthData>{good}{good}<Record ");
        whole.stream(&config, &manifest, &mut Panicking(input.as_bytes()));
        let counts = whole.finish();
        assert_eq!((counts.readings, counts.rejections), (2, 1));
        let Part { readings, rejections, .. } = taken.blocking_recv().unwrap();
        assert_eq!((readings.len(), rejections.len()), (2, 1));
        assert_eq!((rejections[0].item, rejections[0].reason), (None, Reason::MappingFailed));
    }
}
