//! Large uploads: what lies on a raw topic as chunks is read again, from the first chunk, when its manifest is met, and mapped
//! as a stream. Until then, or until it is given up, nothing is committed behind its first chunk: a normalizer that
//! starts again meets all of it again.

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufRead, Read},
    time::{Duration, SystemTime},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Headers as _, OwnedMessage},
    types::RDKafkaErrorCode,
};
use schemas::{
    content::ContentHasher,
    event::Outcome,
    format::{Format, Provider, RawTopic},
    raw::header,
    rejection::Reason,
    upload::{self, Upload},
};
use service::{capped::read_buffered, kafka::GroupProtocol};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    NormalizerConfig, NormalizerError,
    consume::{Consumed, Raw},
    produce::{Counts, Events, Part, dead_letter, event, outcome, raw},
};
use crate::{Rejection, export_xml, observed::Origin};

/// Events of an upload that wait to be acknowledged together.
const PART_EVENTS: usize = 1_000;
/// The same, in bytes.
const PART_BYTES: usize = 512 * 1024;
/// How long the next chunk may take to come from Kafka before the upload is begun again.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);

/// Uploads whose manifest was not met yet, by partition.
#[derive(Default)]
pub(super) struct Open(HashMap<Place, Uploads>);

type Place = (RawTopic, i32);

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
                    let unclosed = Unclosed { first: without_body(record), last_ms: appended_ms };
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
    pub(super) fn keep_only(&mut self, owned: &HashSet<Place>) {
        self.0.retain(|place, _| owned.contains(place));
    }

    /// The first chunk of the earliest open upload of a partition: nothing behind it may be committed.
    pub(super) fn earliest(&self, topic: RawTopic, partition: i32) -> Option<i64> {
        self.0.get(&(topic, partition))?.unclosed.values().map(|unclosed| unclosed.first.message.offset()).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the uploads to which nothing was added for `wait`: each is a refusal, in the place of its first chunk.
    ///
    /// A manifest that is there already must be met first. So the wait is over when a record that was appended so much later
    /// has been read, or, by this machine's clock, when all there is has been read.
    pub(super) async fn give_up(
        &mut self,
        config: &NormalizerConfig,
        raw: &Raw,
        events: &Events,
    ) -> Result<(), NormalizerError> {
        let wait_ms = i64::try_from(config.upload_wait.as_millis()).unwrap_or(i64::MAX);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        for ((topic, partition), Uploads { unclosed, read_until_ms }) in &mut self.0 {
            let over = |at_ms: i64| move |upload: &Unclosed| upload.last_ms.saturating_add(wait_ms) < at_ms;
            let mut until_ms = *read_until_ms;
            if unclosed.values().any(over(now_ms)) && raw.is_at_end(*topic, *partition).await? {
                until_ms = now_ms;
            }
            let ids: Vec<Uuid> = unclosed.iter().filter(|(_, one)| over(until_ms)(one)).map(|(id, _)| *id).collect();
            for id in ids {
                if let Some(upload) = unclosed.get(&id) {
                    refuse(config, events, &upload.first).await?;
                }
                unclosed.remove(&id);
            }
        }
        self.0.retain(|_, uploads| !uploads.unclosed.is_empty());
        Ok(())
    }
}

async fn refuse(config: &NormalizerConfig, events: &Events, first: &Consumed) -> Result<(), NormalizerError> {
    let rejection = Rejection {
        item: None,
        item_count: 1,
        reason: Reason::UploadIncomplete,
        detail: "the upload was never closed: its sender or the ingress went away in the middle",
        bytes: Vec::new(),
    };
    let dead_letters = vec![dead_letter(config, first, rejection)];
    events.produce_part(config, &Part { dead_letters, ..Part::default() }).await?;
    let counts = Counts { readings: 0, rejections: 1, unknown: Vec::new() };
    events.produce_outcomes(config, &[outcome(config, first, counts)]).await
}

/// The manifest that a record is.
pub(super) fn is_manifest(record: &Consumed) -> bool {
    upload_of(record).is_some_and(|upload| matches!(upload.part(), upload::Part::Manifest { .. }))
}

fn upload_of(record: &Consumed) -> Option<&Upload> {
    record.headers.as_ref().ok()?.upload.as_ref()
}

fn without_body(record: &Consumed) -> Consumed {
    let message = &record.message;
    let (topic, partition, offset) = (message.topic().to_owned(), message.partition(), message.offset());
    Consumed {
        topic: record.topic,
        headers: record.headers.clone(),
        message: OwnedMessage::new(None, None, topic, message.timestamp(), partition, offset, None),
    }
}

/// Maps the upload that a manifest closes, and produces its events and the outcomes of the manifest and of the first chunk.
pub(super) async fn map(
    config: &NormalizerConfig,
    events: &Events,
    manifest: &Consumed,
) -> Result<(), NormalizerError> {
    let Some(upload::Part::Manifest { first, .. }) = upload_of(manifest).map(Upload::part) else { return Ok(()) };
    let (parts, mut produced) = mpsc::channel(1);
    let (own, record) = (config.clone(), without_body(manifest));
    let mapping = tokio::task::spawn_blocking(move || read(&own, &record, &parts));
    let mut result = Ok(());
    while let Some(part) = produced.recv().await {
        result = events.produce_part(config, &part).await;
        if result.is_err() {
            break;
        }
    }
    // The mapping ends when nobody takes its parts.
    drop(produced);
    let counts = mapping.await?;
    result?;
    let closing = outcome(config, manifest, counts?);
    let opening = Outcome { offset: first, ..outcome(config, manifest, Counts::default()) };
    events.produce_outcomes(config, &[closing, opening]).await
}

/// Reads and maps; blocks. Ends early when nobody takes the parts.
fn read(config: &NormalizerConfig, manifest: &Consumed, parts: &mpsc::Sender<Part>) -> Result<Counts, NormalizerError> {
    let mut counts = Counts::default();
    let mut chunks = Chunks::of(config, manifest)?;
    let mut part = Part::default();
    let mut bytes = 0;
    let Ok(record) = raw(config, manifest) else { return Ok(counts) };
    let origin = Origin { provider: Provider::HealthKit, format: Format::ExportXml };
    let unknown = export_xml::stream(&record, origin, &mut chunks, &mut |found| {
        match found.map_err(Rejection::from).and_then(|reading| event(&reading)) {
            Ok((key, value)) => {
                counts.readings += 1;
                bytes += key.len() + value.len();
                part.readings.push((key, value));
            }
            Err(rejection) => {
                counts.rejections += 1;
                bytes += rejection.bytes.len();
                part.dead_letters.push(dead_letter(config, manifest, rejection));
            }
        }
        let is_full = bytes >= PART_BYTES || part.readings.len() + part.dead_letters.len() >= PART_EVENTS;
        if is_full {
            bytes = 0;
            return parts.blocking_send(std::mem::take(&mut part)).is_ok();
        }
        true
    });
    counts.unknown = unknown.of(origin.format);
    match chunks.finish()? {
        Ending::Whole => {}
        Ending::Other => {
            counts.rejections += 1;
            let detail = "the chunks are not those that the manifest closes";
            let rejection =
                Rejection { item: None, item_count: 1, reason: Reason::BrokenRecord, detail, bytes: Vec::new() };
            part.dead_letters.push(dead_letter(config, manifest, rejection));
        }
    }
    // Whether anybody takes it is seen by the one who would.
    let _taken = parts.blocking_send(part);
    Ok(counts)
}

/// Whether what was read is what the manifest closes.
enum Ending {
    Whole,
    Other,
}

/// The chunks of one upload, as a reader.
struct Chunks {
    consumer: BaseConsumer,
    id: Uuid,
    /// The manifest's offset: behind it there are no chunks.
    end: i64,
    expected: upload::Part,
    hash_expected: String,
    message: Option<OwnedMessage>,
    at: usize,
    number: u32,
    bytes: u64,
    hasher: ContentHasher,
    failed: Option<NormalizerError>,
}

impl Chunks {
    fn of(config: &NormalizerConfig, manifest: &Consumed) -> Result<Self, NormalizerError> {
        let (id, expected, first) = match upload_of(manifest).map(|upload| (upload.id(), upload.part())) {
            Some((id, part @ upload::Part::Manifest { first, .. })) => (id, part, first),
            Some((id, part @ upload::Part::Chunk { .. })) => (id, part, manifest.message.offset()),
            None => (Uuid::nil(), upload::Part::Chunk { number: 0 }, manifest.message.offset()),
        };
        let mut settings = config.kafka.consumer(&format!("{}-uploads", config.group), GroupProtocol::Classic);
        // Partitions are given, not shared out: no group is joined.
        settings.set("queued.max.messages.kbytes", "1024");
        let consumer: BaseConsumer = settings.create()?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(manifest.message.topic(), manifest.message.partition(), Offset::Offset(first))?;
        consumer.assign(&from)?;
        Ok(Self {
            consumer,
            id,
            end: manifest.message.offset(),
            expected,
            hash_expected: manifest.headers.as_ref().map(|headers| headers.content_hmac.clone()).unwrap_or_default(),
            message: None,
            at: 0,
            number: 0,
            bytes: 0,
            hasher: config.content_key.hasher(),
            failed: None,
        })
    }

    /// Goes on to the next chunk; false behind the last.
    fn next(&mut self) -> Result<bool, NormalizerError> {
        if matches!(self.expected, upload::Part::Manifest { chunks, .. } if chunks == self.number) {
            return Ok(false);
        }
        loop {
            let message = match self.consumer.poll(CHUNK_WITHIN) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(error.into()),
                None => {
                    return Err(
                        rdkafka::error::KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into()
                    );
                }
            };
            if message.offset() >= self.end {
                return Ok(false);
            }
            let header = message.headers().and_then(|headers| headers.iter().find(|one| one.key == header::UPLOAD));
            let text = header.and_then(|header| header.value).and_then(|value| std::str::from_utf8(value).ok());
            let is_next = text.and_then(Upload::parse).is_some_and(|upload| {
                upload.id() == self.id && upload.part() == upload::Part::Chunk { number: self.number }
            });
            if is_next {
                let payload = message.payload().unwrap_or_default();
                self.bytes += payload.len() as u64;
                self.hasher.update(payload);
                self.number += 1;
                self.message = Some(message.detach());
                self.at = 0;
                return Ok(true);
            }
        }
    }

    /// Reads what the mapping left, and compares.
    fn finish(mut self) -> Result<Ending, NormalizerError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        while self.next()? {}
        let found = self.hasher.finish().to_hex();
        let is_whole = matches!(self.expected, upload::Part::Manifest { chunks, bytes, .. }
            if chunks == self.number && bytes == self.bytes && found == self.hash_expected);
        Ok(if is_whole { Ending::Whole } else { Ending::Other })
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let length = self.message.as_ref().and_then(Message::payload).map_or(0, <[u8]>::len);
        if self.at >= length {
            self.message = None;
            self.at = 0;
            if let Err(error) = self.next() {
                self.failed = Some(error);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        let payload = self.message.as_ref().and_then(Message::payload).unwrap_or_default();
        Ok(payload.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}
