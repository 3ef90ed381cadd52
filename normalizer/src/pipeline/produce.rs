//! Events to Kafka: documents first, then everything else, and all acknowledged before this returns.

use std::{collections::HashSet, time::Duration};

use rdkafka::{
    Message,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer},
    types::RDKafkaErrorCode,
};
use schemas::{
    codec::encode,
    dead_letter::{DeadLetter, Stage},
    event::{Outcome, Reading, Unknown, Value},
    raw::{HeaderError, Headers, RawRecord},
    rejection::Reason,
    upload::{self, Upload},
};
use service::recall::Recall;
use tokio_util::task::AbortOnDropHandle;

use super::{NormalizerConfig, NormalizerError, consume::Consumed};
use crate::{MAPPING_VERSION, Normalized, Rejection, normalize};

const FLUSH: Duration = Duration::from_secs(10);

/// The producer of all event topics.
pub(super) struct Events {
    producer: FutureProducer,
    _recalled: AbortOnDropHandle<()>,
}

/// More bytes than this are not put into one message: what the topics take, less room for key and headers.
const EVENT_BYTES_MAX: usize = 16_777_216 - 65_536;

/// What a record came to, in bytes.
struct Mapped {
    /// Key and value of each document.
    documents: Vec<([u8; 32], Vec<u8>)>,
    /// Key and value of each reading.
    readings: Vec<(String, Vec<u8>)>,
    /// Key and value of each command.
    commands: Vec<(String, Vec<u8>)>,
    outcome: Outcome,
    dead_letters: Vec<DeadLetter>,
}

impl Events {
    pub(super) fn new(config: &NormalizerConfig) -> Result<Self, NormalizerError> {
        let producer: FutureProducer = config.kafka.producer().create()?;
        let known = producer.clone();
        let recalled = Recall::new(&config.kafka).keep(move |recall| {
            recall.look(known.client());
        });
        Ok(Self { producer, _recalled: recalled })
    }

    /// Maps the batch, produces its events, and returns when every one is acknowledged.
    pub(super) async fn produce(&self, config: &NormalizerConfig, batch: &[Consumed]) -> Result<(), NormalizerError> {
        let mapped: Vec<Mapped> = batch.iter().filter_map(|record| map(config, record)).collect();
        let mut documents = Vec::new();
        for (key, value) in mapped.iter().flat_map(|mapped| &mapped.documents) {
            documents.push(self.send(&config.topics.documents(), key, value, None).await?);
        }
        acknowledged(documents).await?;
        let mut waiting = Vec::with_capacity(mapped.len() * 2);
        for mapped in &mapped {
            self.send_events(config, mapped, &mut waiting).await?;
        }
        acknowledged(waiting).await?;
        count(mapped.iter().map(|mapped| &mapped.outcome));
        Ok(())
    }

    async fn send_events(
        &self,
        config: &NormalizerConfig,
        mapped: &Mapped,
        waiting: &mut Vec<DeliveryFuture>,
    ) -> Result<(), NormalizerError> {
        let topics = &config.topics;
        let (readings, assignments) = (topics.readings(), topics.assignments());
        for (key, value) in &mapped.readings {
            waiting.push(self.send(&readings, key.as_bytes(), value, None).await?);
        }
        for (key, value) in &mapped.commands {
            waiting.push(self.send(&assignments, key.as_bytes(), value, None).await?);
        }
        for letter in &mapped.dead_letters {
            waiting.push(self.send_letter(config, letter).await?);
        }
        waiting.push(self.send_outcome(config, &mapped.outcome).await?);
        Ok(())
    }

    /// Sends some of a large upload's events, and returns when they are acknowledged.
    pub(super) async fn produce_part(&self, config: &NormalizerConfig, part: &Part) -> Result<(), NormalizerError> {
        let readings = config.topics.readings();
        let mut waiting = Vec::with_capacity(part.readings.len());
        for (key, value) in &part.readings {
            waiting.push(self.send(&readings, key.as_bytes(), value, None).await?);
        }
        for letter in &part.dead_letters {
            waiting.push(self.send_letter(config, letter).await?);
        }
        acknowledged(waiting).await
    }

    /// Sends outcomes, and returns when they are acknowledged.
    pub(super) async fn produce_outcomes(
        &self,
        config: &NormalizerConfig,
        outcomes: &[Outcome],
    ) -> Result<(), NormalizerError> {
        let mut waiting = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            waiting.push(self.send_outcome(config, outcome).await?);
        }
        acknowledged(waiting).await?;
        count(outcomes.iter());
        Ok(())
    }

    async fn send_letter(
        &self,
        config: &NormalizerConfig,
        letter: &DeadLetter,
    ) -> Result<DeliveryFuture, NormalizerError> {
        self.send(&config.topics.dead_letters(), letter.key().as_bytes(), &letter.value, Some(headers(letter))).await
    }

    async fn send_outcome(
        &self,
        config: &NormalizerConfig,
        outcome: &Outcome,
    ) -> Result<DeliveryFuture, NormalizerError> {
        let key = format!("{}:{}", outcome.topic.as_str(), outcome.partition);
        self.send(&config.topics.outcomes(), key.as_bytes(), &encode(outcome), None).await
    }

    /// Puts a message into the producer's queue; waits while the queue is full.
    pub(super) async fn send(
        &self,
        topic: &str,
        key: &[u8],
        value: &[u8],
        headers: Option<OwnedHeaders>,
    ) -> Result<DeliveryFuture, NormalizerError> {
        let mut record = FutureRecord { headers, ..FutureRecord::to(topic).key(key).payload(value) };
        loop {
            match self.producer.send_result(record) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    // The queue empties as the broker acknowledges, or as its messages time out.
                    record = refused;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Err(error) = self.producer.flush(FLUSH) {
            tracing::debug!(%error, "events left in the queue are made again from the raw records");
        }
    }
}

pub(super) async fn acknowledged(deliveries: Vec<DeliveryFuture>) -> Result<(), NormalizerError> {
    for delivery in deliveries {
        delivery.await.map_err(|_| NormalizerError::NoReport)?.map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// Readings of one device stay in their order; one without a device needs none.
fn key(reading: &Reading) -> String {
    reading.device.as_ref().map_or(reading.reading_id, |device| device.key).hyphenated().to_string()
}

/// What a record comes to; none where that hangs on what comes after it: the first chunk of an upload stands for all of it
/// until its manifest is read.
fn map(config: &NormalizerConfig, record: &Consumed) -> Option<Mapped> {
    let part = record.headers.as_ref().ok().and_then(|headers| headers.upload.as_ref()).map(Upload::part);
    let normalized = match (part, raw(config, record)) {
        (Some(upload::Part::Chunk { number: 0 } | upload::Part::Manifest { .. }), _) => return None,
        (Some(upload::Part::Chunk { .. }), _) => Normalized::default(),
        (None, Ok(raw)) => normalize(&raw),
        (None, Err(error)) => Normalized {
            rejections: vec![Rejection {
                item: None,
                item_count: 1,
                reason: Reason::BrokenRecord,
                detail: error.name,
                bytes: Vec::new(),
            }],
            ..Normalized::default()
        },
    };
    Some(encoded(config, record, normalized))
}

/// The record as the mapping gets it.
pub(super) fn raw<'a>(config: &NormalizerConfig, record: &'a Consumed) -> Result<RawRecord<'a>, HeaderError> {
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
fn received_at(record: &Consumed) -> i64 {
    record.message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000)
}

/// Some events of a large upload.
#[derive(Default)]
pub(super) struct Part {
    /// Key and value of each reading.
    pub(super) readings: Vec<(String, Vec<u8>)>,
    pub(super) dead_letters: Vec<DeadLetter>,
}

/// What a record came to, in numbers and in unknown shapes.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) readings: usize,
    pub(super) rejections: usize,
    pub(super) unknown: Vec<Unknown>,
}

pub(super) fn outcome(config: &NormalizerConfig, record: &Consumed, counts: Counts) -> Outcome {
    Outcome {
        topic: record.topic,
        topic_epoch: i32::from(config.topic_epoch),
        partition: record.message.partition(),
        offset: record.message.offset(),
        items: int(counts.readings + counts.rejections),
        readings: int(counts.readings),
        commands: 0,
        rejections: int(counts.rejections),
        mapping_version: MAPPING_VERSION,
        received_at: received_at(record),
        unknown: counts.unknown,
    }
}

/// A reading's key and value; a refusal where no message can carry it.
pub(super) fn event(reading: &Reading) -> Result<(String, Vec<u8>), Rejection> {
    let value = encode(reading);
    if value.len() > EVENT_BYTES_MAX {
        return Err(too_large(reading));
    }
    Ok((key(reading), value))
}

fn too_large(reading: &Reading) -> Rejection {
    Rejection {
        item: u32::try_from(reading.provenance.item).ok(),
        item_count: 1,
        reason: Reason::TooLarge,
        detail: "the item's event is larger than a message may be; the raw record keeps the item",
        bytes: Vec::new(),
    }
}

/// The events in bytes. What no message can carry is refused, so that it ends as an outcome and not as a stuck stage.
fn encoded(config: &NormalizerConfig, record: &Consumed, normalized: Normalized) -> Mapped {
    let Normalized { readings: found, commands, documents, mut rejections, unknown } = normalized;
    let too_large_documents: HashSet<[u8; 32]> =
        documents.iter().filter(|found| found.content.len() > EVENT_BYTES_MAX).map(|found| found.sha256).collect();
    let mut readings = Vec::with_capacity(found.len());
    for reading in found {
        let cites = matches!(&reading.value, Value::Document(cited) if too_large_documents.contains(&cited.sha256));
        match if cites { Err(too_large(&reading)) } else { event(&reading) } {
            Ok(event) => readings.push(event),
            Err(rejection) => rejections.push(rejection),
        }
    }
    let refused = rejections.iter().map(|rejection| rejection.item_count as usize).sum();
    let counts = Counts { readings: readings.len(), rejections: refused, unknown };
    let outcome = Outcome {
        items: int(readings.len() + commands.len() + refused),
        commands: int(commands.len()),
        ..outcome(config, record, counts)
    };
    Mapped {
        documents: documents
            .iter()
            .filter(|document| !too_large_documents.contains(&document.sha256))
            .map(|document| (document.sha256, encode(document)))
            .collect(),
        readings,
        commands: commands
            .iter()
            .map(|command| (command.device_key.hyphenated().to_string(), encode(command)))
            .collect(),
        outcome,
        dead_letters: rejections.into_iter().map(|refused| dead_letter(config, record, refused)).collect(),
    }
}

pub(super) fn dead_letter(config: &NormalizerConfig, record: &Consumed, rejection: Rejection) -> DeadLetter {
    let (topic, message) = (record.topic.as_str(), &record.message);
    DeadLetter {
        origin_topic: message.topic().to_owned(),
        origin_partition: message.partition(),
        origin_offset: message.offset(),
        origin_timestamp: received_at(record),
        item: rejection.item.map(|item| i32::try_from(item).unwrap_or(i32::MAX)),
        item_count: 1,
        stage: Stage::Normalizer,
        reason: rejection.reason,
        detail: rejection.detail.to_owned(),
        content_hmac: record.headers.as_ref().ok().map(|headers: &Headers| headers.content_hmac.clone()),
        raw_position: Some(format!("{topic}:{}:{}:{}", config.topic_epoch, message.partition(), message.offset())),
        // The raw record keeps what is too long for a message.
        value: if rejection.bytes.len() > EVENT_BYTES_MAX { Vec::new() } else { rejection.bytes },
    }
}

fn headers(letter: &DeadLetter) -> OwnedHeaders {
    letter
        .headers()
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

fn count<'o>(outcomes: impl Iterator<Item = &'o Outcome>) {
    let mut sums = [0_u64; 5];
    for outcome in outcomes {
        if let Some(provider) = outcome.topic.provider() {
            for unknown in &outcome.unknown {
                let labels = [("provider", provider.as_str()), ("kind", unknown.kind.as_str())];
                metrics::counter!("device_manager_normalizer_unknown_total", &labels).increment(1);
            }
        }
        let numbers = [1, outcome.items, outcome.readings, outcome.commands, outcome.rejections];
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += u64::try_from(number).unwrap_or(0);
        }
    }
    let [records, items, readings, commands, rejections] = sums;
    metrics::counter!("device_manager_normalizer_records_total").increment(records);
    metrics::counter!("device_manager_normalizer_items_total").increment(items);
    metrics::counter!("device_manager_normalizer_readings_total").increment(readings);
    metrics::counter!("device_manager_normalizer_commands_total").increment(commands);
    metrics::counter!("device_manager_normalizer_rejections_total").increment(rejections);
}

fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
