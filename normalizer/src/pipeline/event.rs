//! Encodes the result of mapping a raw record: events, dead letters and the outcome.

use std::{borrow::Cow, collections::HashSet};

use rdkafka::Message;
use schemas::{
    codec::encode,
    dead_letter::{AboutPayload, DeadLetter, Stage},
    event::{Assignment, Document, Outcome, Reading, Unknown, Value},
    format::RawTopic,
    limit::EVENT_BYTES_MAX,
    raw::{HeaderError, Headers, RawRecord},
    receipt::RawPosition,
    rejection::Reason,
    upload::{self, Upload},
};

use super::{
    config::{NormalizerConfig, Skip},
    record::{Consumed, upload_of},
};
use crate::{
    normalized::{MAPPING_VERSION, Normalized, Rejection},
    pool::Work,
    refusal::{Refused, refused},
};

/// The pure mapping: [`crate::registry::normalize`], or a replacement in tests.
pub(super) type Normalize = fn(&RawRecord<'_>) -> Normalized;

/// Maps and encodes records on the threads of the pool.
pub(super) struct Mapper {
    pub(super) config: NormalizerConfig,
    pub(super) normalize: Normalize,
}

/// The encoded result of mapping a record.
pub(super) struct Mapped {
    /// The key and value of each document.
    pub(super) documents: Vec<([u8; 32], Vec<u8>)>,
    /// The key and value of each reading.
    pub(super) readings: Vec<(String, Vec<u8>)>,
    /// The key and value of each command.
    pub(super) commands: Vec<(String, Vec<u8>)>,
    pub(super) rejections: Vec<Rejection>,
    pub(super) outcome: Outcome,
}

impl Work for Mapper {
    type Record = Consumed;
    /// `None` if the record is not mapped: it has no value, or an earlier process has handled it. `None` also for the first
    /// chunk and the manifest of an upload, because the upload is mapped when its manifest is read.
    type Events = Option<Mapped>;

    fn bytes(&self, record: &Consumed) -> usize {
        record.message.payload().map_or(0, <[u8]>::len)
    }

    fn map(&self, record: &Consumed) -> Option<Mapped> {
        let normalized = map_record(&self.config, self.normalize, record)?;
        Some(encode_events(&self.config, record, normalized))
    }

    fn panicked(&self, record: &Consumed) -> Option<Mapped> {
        log_panic(record);
        Some(encode_events(&self.config, record, all_refused(Rejection::whole(PANICKED))))
    }
}

/// Maps a record; `None` in the cases of [`Mapper::Events`](Work::Events).
pub(super) fn map_record(config: &NormalizerConfig, normalize: Normalize, record: &Consumed) -> Option<Normalized> {
    let part = upload_of(record).map(Upload::part);
    let is_unmapped = record.is_handled || record.message.payload().is_none();
    Some(match (part, raw_record(config, record)) {
        _ if is_unmapped => return None,
        (Some(upload::UploadPart::Chunk { number: 0 } | upload::UploadPart::Manifest { .. }), _)
            if record.topic == RawTopic::Uploads =>
        {
            return None;
        }
        (Some(upload::UploadPart::Chunk { .. }), _) if record.topic == RawTopic::Uploads => Normalized::default(),
        (Some(_), _) => all_refused(Rejection::whole(refused(
            Reason::BrokenRecord,
            "a part of a large upload does not belong on this topic",
        ))),
        (None, _) if config.skip.is_skipped(record) => all_refused(Rejection::whole(SKIPPED)),
        (None, Ok(raw)) => normalize(&raw),
        (None, Err(error)) => all_refused(Rejection::whole(refused(Reason::BrokenRecord, error.name))),
    })
}

/// The refusal of a payload on which the mapping panicked.
pub(super) const PANICKED: Refused =
    refused(Reason::MappingFailed, "the mapping failed on this payload, which is a defect of the normalizer");

/// Logs the position of the record. The panic message is withheld.
pub(super) fn log_panic(record: &Consumed) {
    let (topic, message) = (record.topic.as_str(), &record.message);
    metrics::counter!("device_manager_normalizer_mapping_failures_total").increment(1);
    tracing::error!(
        topic,
        partition = message.partition(),
        offset = message.offset(),
        "the mapping panicked on a payload, which is a defect of the normalizer; the payload becomes a dead letter"
    );
}

fn all_refused(rejection: Rejection) -> Normalized {
    Normalized { rejections: vec![rejection], ..Normalized::default() }
}

impl Skip {
    /// Whether the operator skips this record.
    pub(super) fn is_skipped(&self, record: &Consumed) -> bool {
        let message = &record.message;
        self.positions.iter().any(|skipped| {
            (skipped.topic, skipped.partition, skipped.offset) == (record.topic, message.partition(), message.offset())
        })
    }
}

/// The refusal of a payload that an operator skips.
pub(super) const SKIPPED: Refused = refused(Reason::Skipped, "an operator skipped the payload");

/// Builds the input of the mapping from a consumed record.
pub(super) fn raw_record<'a>(config: &NormalizerConfig, record: &'a Consumed) -> Result<RawRecord<'a>, HeaderError> {
    let message = &record.message;
    Ok(RawRecord {
        topic: record.topic,
        topic_epoch: config.topic_epoch,
        partition: message.partition(),
        offset: message.offset(),
        received_at: received_at(record),
        headers: record.headers.clone()?,
        body: message.payload().unwrap_or_default(),
    })
}

/// The broker's append time in microseconds.
pub(super) fn received_at(record: &Consumed) -> i64 {
    record.message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000)
}

/// What an outcome reports about a record: counts, and unknown shapes.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) readings: usize,
    pub(super) commands: usize,
    pub(super) rejections: usize,
    pub(super) unknown: Vec<Unknown>,
}

pub(super) fn outcome(config: &NormalizerConfig, record: &Consumed, counts: Counts) -> Outcome {
    Outcome {
        topic: record.topic,
        topic_epoch: i32::from(config.topic_epoch),
        partition: record.message.partition(),
        offset: record.message.offset(),
        items: int(counts.readings + counts.commands + counts.rejections),
        readings: int(counts.readings),
        commands: int(counts.commands),
        rejections: int(counts.rejections),
        mapping_version: MAPPING_VERSION,
        received_at: received_at(record),
        unknown: counts.unknown,
        catalogue_revision: catalogue::revision(),
        replay: None,
    }
}

/// The Kafka key of a reading. Readings of one device have the same key, so they stay in order; a reading without a device
/// needs no order.
fn key(reading: &Reading) -> String {
    reading.device.as_ref().map_or(reading.reading_id, |device| device.key).hyphenated().to_string()
}

/// Encodes a device command to key and value.
pub(super) fn command_event(command: &Assignment) -> (String, Vec<u8>) {
    (command.device_key.hyphenated().to_string(), encode(command))
}

/// Encodes a reading to key and value. A reading that is too large for a message is refused.
pub(super) fn encode_reading(reading: &Reading) -> Result<(String, Vec<u8>), Rejection> {
    let event = reading_event(reading);
    if event.1.len() > EVENT_BYTES_MAX { Err(too_large(reading)) } else { Ok(event) }
}

/// Encodes a reading of which it is known that it fits into a message.
pub(super) fn reading_event(reading: &Reading) -> (String, Vec<u8>) {
    (key(reading), encode(reading))
}

/// The hashes of the documents that are too large for a message.
pub(super) fn too_large_documents(documents: &[Document]) -> HashSet<[u8; 32]> {
    documents.iter().filter(|found| found.content.len() > EVENT_BYTES_MAX).map(|found| found.sha256).collect()
}

/// Encodes a reading to key and value. A reading that is too large, or that cites a document that is too large, is refused.
pub(super) fn encode_citing(
    reading: &Reading,
    too_large_documents: &HashSet<[u8; 32]>,
) -> Result<(String, Vec<u8>), Rejection> {
    match &reading.value {
        Value::Document(cited) if too_large_documents.contains(&cited.sha256) => Err(too_large(reading)),
        Value::Document(_)
        | Value::Quantity(_)
        | Value::Coded(_)
        | Value::Text(_)
        | Value::Boolean(_)
        | Value::Waveform(_)
        | Value::Absent(_) => encode_reading(reading),
    }
}

fn too_large(reading: &Reading) -> Rejection {
    Rejection {
        item: u32::try_from(reading.provenance.item).ok(),
        item_count: 1,
        reason: Reason::TooLarge,
        detail: Cow::Borrowed(
            "the item's event is larger than a Kafka message can be; the raw record contains the item",
        ),
        device: reading.device.as_ref().map(|device| device.key),
        bytes: Vec::new(),
    }
}

/// Encodes the events. An event that is too large for a message is refused: it ends as a dead letter and does not block the
/// stage.
fn encode_events(config: &NormalizerConfig, record: &Consumed, normalized: Normalized) -> Mapped {
    let Normalized { readings: found, commands, documents, mut rejections, unknown } = normalized;
    let too_large_documents = too_large_documents(&documents);
    let mut readings = Vec::with_capacity(found.len());
    for reading in found {
        match encode_citing(&reading, &too_large_documents) {
            Ok(event) => readings.push(event),
            Err(rejection) => rejection.add_to(&mut rejections),
        }
    }
    let refused = rejections.iter().map(|rejection| rejection.item_count as usize).sum();
    let counts = Counts { readings: readings.len(), commands: commands.len(), rejections: refused, unknown };
    let outcome = outcome(config, record, counts);
    Mapped {
        documents: documents
            .iter()
            .filter(|document| !too_large_documents.contains(&document.sha256))
            .map(|document| (document.sha256, encode(document)))
            .collect(),
        readings,
        commands: commands.iter().map(command_event).collect(),
        rejections,
        outcome,
    }
}

pub(super) fn dead_letter(config: &NormalizerConfig, record: &Consumed, rejection: Rejection) -> DeadLetter {
    let message = &record.message;
    let position = RawPosition {
        topic: record.topic,
        topic_epoch: i32::from(config.topic_epoch),
        partition: message.partition(),
        offset: message.offset(),
    };
    let detail = match (rejection.reason, config.skip.reason.as_str()) {
        (Reason::Skipped, reason) if !reason.is_empty() => format!("{}: {reason}", rejection.detail),
        _ => rejection.detail.into_owned(),
    };
    DeadLetter {
        origin_topic: message.topic().to_owned(),
        origin_partition: message.partition(),
        origin_offset: message.offset(),
        origin_timestamp: received_at(record),
        item: rejection.item.map(|item| i32::try_from(item).unwrap_or(i32::MAX)),
        item_count: i32::try_from(rejection.item_count).unwrap_or(i32::MAX),
        device: rejection.device,
        stage: Stage::Normalizer,
        reason: rejection.reason,
        detail,
        content_hmac: record.headers.as_ref().ok().map(|headers: &Headers| headers.content_hmac.clone()),
        raw_position: Some(position.to_string()),
        about: about_payload(record),
        attempt: 1,
        replay: None,
        // An item that is too large for a message is left out; the raw record contains it.
        value: if rejection.bytes.len() > EVENT_BYTES_MAX { Vec::new() } else { rejection.bytes },
    }
}

/// What the headers of a record say about its payload. Without readable headers, only the provider is known.
fn about_payload(record: &Consumed) -> AboutPayload {
    let provider = record.topic.provider();
    let Ok(headers) = &record.headers else { return AboutPayload { provider, ..AboutPayload::default() } };
    AboutPayload {
        source: Some(headers.source.as_str().to_owned()),
        credential: Some(headers.credential.clone()),
        correlation_id: Some(headers.correlation_id.clone()).filter(|id| !id.is_empty()),
        format: Some(headers.kind.as_str().to_owned()),
        provider,
    }
}

fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{num::NonZeroUsize, sync::Arc, time::Duration};

    use rdkafka::{Timestamp, message::OwnedMessage};
    use schemas::{
        content::ContentKey,
        event::SourceName,
        format::{Format, Provider},
        raw::RecordKind,
        topic::Topics,
    };
    use service::kafka::KafkaSettings;

    use super::*;
    use crate::{pipeline::config::BatchLimits, pool::Pool};

    fn config() -> NormalizerConfig {
        NormalizerConfig {
            kafka: KafkaSettings::new("nowhere:1"),
            topics: Topics::new("t."),
            group: "group".to_owned(),
            topic_epoch: 3,
            content_key: ContentKey::derive(&[7; 32]).unwrap(),
            batch: BatchLimits::default(),
            upload_wait: Duration::from_secs(1),
            threads: NonZeroUsize::new(2).unwrap(),
            skip: Skip::default(),
        }
    }

    fn record(offset: i64, body: &str) -> Consumed {
        let headers = Headers {
            kind: RecordKind::Payload(Format::StandardJson),
            content_type: None,
            credential: "key".to_owned(),
            source: SourceName::parse("tests").unwrap(),
            subject: None,
            correlation_id: String::new(),
            traceparent: None,
            content_hmac: "5a".to_owned(),
            sample_type: None,
            unit: None,
            device_id: None,
            defaults: None,
            providers: Vec::new(),
            upload: None,
            key_id: None,
        };
        let (body, name) = (Some(body.as_bytes().to_vec()), "t.raw.healthkit".to_owned());
        let message = OwnedMessage::new(body, None, name, Timestamp::CreateTime(1_000), 2, offset, None);
        Consumed { topic: RawTopic::HealthKit, headers: Ok(headers), message, is_handled: false, assignment: 1 }
    }

    /// Returns the manifest of an export.
    pub(in super::super) fn upload() -> (NormalizerConfig, Consumed) {
        let mut manifest = record(7, "");
        let headers = manifest.headers.as_mut().unwrap();
        (headers.kind, headers.device_id) = (RecordKind::Payload(Format::ExportXml), Some("watch".to_owned()));
        manifest.topic = RawTopic::Uploads;
        (config(), manifest)
    }

    /// Panics on every payload that begins with `panic`.
    fn panicking(record: &RawRecord<'_>) -> Normalized {
        assert!(!record.body.starts_with(b"panic"), "{}", String::from_utf8_lossy(record.body));
        crate::registry::normalize(record)
    }

    #[tokio::test]
    async fn a_panic_of_the_mapping_makes_the_whole_payload_a_dead_letter() {
        let config = config();
        let mapper = Mapper { config: config.clone(), normalize: panicking };
        let pool = Pool::start(config.threads, mapper).unwrap();
        let good = r#"[{"type":"HeartRate","value":61,"unit":"count/min","startDate":"2026-02-01T07:30:00Z"}]"#;
        let batch = Arc::new(vec![record(40, good), record(41, "panic canary"), record(42, good)]);
        let (mut mapping, mut found) = (pool.map(Arc::clone(&batch)), Vec::new());
        while let Some(mapped_records) = mapping.next().await.unwrap() {
            found.extend(mapped_records.into_iter().flatten());
        }
        let outcomes: Vec<_> = found
            .iter()
            .map(|mapped| {
                (mapped.outcome.offset, mapped.outcome.items, mapped.outcome.readings, mapped.outcome.rejections)
            })
            .collect();
        assert_eq!(outcomes, [(40, 1, 1, 0), (41, 1, 0, 1), (42, 1, 1, 0)]);
        assert!(found.iter().all(|mapped| mapped.outcome.received_at == 1_000_000));
        let rejection = found.remove(1).rejections.remove(0);
        let letter = dead_letter(&config, &batch[1], rejection);
        assert_eq!((letter.reason, letter.item, letter.item_count), (Reason::MappingFailed, None, 1));
        assert_eq!(letter.raw_position.as_deref(), Some("raw.healthkit:3:2:41"));
        assert!(!letter.detail.contains("canary") && letter.value.is_empty());
        let AboutPayload { source, credential, correlation_id, format, provider } = &letter.about;
        assert_eq!(
            [source, credential, format].map(Option::as_deref),
            [Some("tests"), Some("key"), Some("standard-json")]
        );
        assert_eq!((correlation_id, *provider), (&None, Some(Provider::HealthKit)));
        assert_eq!((letter.attempt, letter.replay), (1, None));
    }
}
