//! Produces events to Kafka: a document before the reading that cites it, and with a bound on unacknowledged events.

use std::{collections::VecDeque, time::Duration};

use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _},
    types::RDKafkaErrorCode,
};
use schemas::{
    codec::encode,
    dead_letter::DeadLetter,
    event::{Document, Outcome},
    format::RawTopic,
};
use service::rebootstrap::Rebootstrap;
use tokio_util::task::AbortOnDropHandle;

use super::{
    config::NormalizerConfig,
    error::NormalizerError,
    event::{Mapped, dead_letter},
    progress::Progress,
    record::Consumed,
};
use crate::normalized::Rejection;

/// At most this many events may be unacknowledged at once.
const WINDOW_EVENTS: usize = 8_000;
/// At most this many bytes of events may be unacknowledged at once; a larger event is sent alone.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// The approximate size of a message in the producer's queue, without key and value.
const MESSAGE_BYTES: usize = 512;

/// The producer for all event topics. Events that are not delivered when it is dropped are lost, and are made again from the
/// raw records: a position is committed only after its events are acknowledged.
pub(super) struct EventProducer {
    producer: FutureProducer,
    names: Names,
    _rebootstrap: AbortOnDropHandle<()>,
}

struct Names {
    readings: String,
    readings_bulk: String,
    assignments: String,
    documents: String,
    outcomes: String,
    dead_letters: String,
}

impl EventProducer {
    pub(super) fn new(config: &NormalizerConfig) -> Result<Self, NormalizerError> {
        let producer: FutureProducer = config.kafka.producer().create()?;
        let known = producer.clone();
        let rebootstrap = Rebootstrap::new(&config.kafka.bootstrap).watch(move |rebootstrap| {
            rebootstrap.check(known.client());
        });
        let topics = &config.topics;
        let names = Names {
            readings: topics.readings(),
            readings_bulk: topics.readings_bulk(),
            assignments: topics.assignments(),
            documents: topics.documents(),
            outcomes: topics.outcomes(),
            dead_letters: topics.dead_letters(),
        };
        Ok(Self { producer, names, _rebootstrap: rebootstrap })
    }

    /// Puts a message into the producer's queue. Waits while the queue is full.
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
                    // The queue empties as the broker acknowledges messages, or as they time out.
                    record = refused;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

/// The unacknowledged events, in the order in which they were sent.
pub(super) struct Window<'e> {
    events: &'e EventProducer,
    config: &'e NormalizerConfig,
    /// `None` outside of the stage.
    progress: Option<&'e Progress>,
    /// The number of the replay; `None` in the stage.
    replay: Option<i32>,
    in_flight: VecDeque<(usize, DeliveryFuture)>,
    bytes: usize,
}

impl<'e> Window<'e> {
    pub(super) fn new(events: &'e EventProducer, config: &'e NormalizerConfig, progress: &'e Progress) -> Self {
        Self { events, config, progress: Some(progress), replay: None, in_flight: VecDeque::new(), bytes: 0 }
    }

    /// The window of a replay, whose dead letters have its number.
    pub(super) fn of_replay(events: &'e EventProducer, config: &'e NormalizerConfig, replay: i32) -> Self {
        Self { events, config, progress: None, replay: Some(replay), in_flight: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn config(&self) -> &'e NormalizerConfig {
        self.config
    }

    /// Sends the events of a record. Returns its outcome, which may be counted once everything is acknowledged.
    pub(super) async fn send_record(&mut self, record: &Consumed, mapped: Mapped) -> Result<Outcome, NormalizerError> {
        let names = &self.events.names;
        if !mapped.documents.is_empty() {
            for (key, value) in &mapped.documents {
                self.send(&names.documents, key, value, None).await?;
            }
            self.wait_for_all().await?;
        }
        self.send_readings(record.topic, &mapped.readings).await?;
        for command in &mapped.commands {
            self.send_command(command).await?;
        }
        self.send_rejections(record, mapped.rejections).await?;
        self.send_outcome(&mapped.outcome).await?;
        Ok(mapped.outcome)
    }

    /// Sends documents.
    pub(super) async fn send_documents(&mut self, documents: &[Document]) -> Result<(), NormalizerError> {
        for document in documents {
            self.send(&self.events.names.documents, &document.sha256, &encode(document), None).await?;
        }
        Ok(())
    }

    /// Sends the key and value of a reading to the topic for readings that others do not wait for.
    pub(super) async fn send_bulk(&mut self, (key, value): &(String, Vec<u8>)) -> Result<(), NormalizerError> {
        self.send(&self.events.names.readings_bulk, key.as_bytes(), value, None).await
    }

    /// Sends the key and value of a device command.
    pub(super) async fn send_command(&mut self, (key, value): &(String, Vec<u8>)) -> Result<(), NormalizerError> {
        self.send(&self.events.names.assignments, key.as_bytes(), value, None).await
    }

    /// Sends readings. Those of large uploads go to a topic of their own, so that other readings do not wait behind them.
    pub(super) async fn send_readings(
        &mut self,
        topic: RawTopic,
        readings: &[(String, Vec<u8>)],
    ) -> Result<(), NormalizerError> {
        let names = &self.events.names;
        let name = if topic == RawTopic::Uploads { &names.readings_bulk } else { &names.readings };
        for (key, value) in readings {
            #[cfg(feature = "planted-bugs")]
            if service::planted_bug::PlantedBug::DroppedItem.is_planted() && value.len() % 16 == 3 {
                continue;
            }
            self.send(name, key.as_bytes(), value, None).await?;
        }
        Ok(())
    }

    /// Sends the rejections of a record as dead letters.
    pub(super) async fn send_rejections(
        &mut self,
        record: &Consumed,
        rejections: Vec<Rejection>,
    ) -> Result<(), NormalizerError> {
        let names = &self.events.names;
        for rejection in rejections {
            let letter = DeadLetter { replay: self.replay, ..dead_letter(self.config, record, rejection) };
            self.send(&names.dead_letters, letter.key().as_bytes(), &letter.value, Some(headers(&letter))).await?;
        }
        Ok(())
    }

    /// Sends the outcome of a record.
    pub(super) async fn send_outcome(&mut self, outcome: &Outcome) -> Result<(), NormalizerError> {
        let key = format!("{}:{}", outcome.topic.as_str(), outcome.partition);
        self.send(&self.events.names.outcomes, key.as_bytes(), &encode(outcome), None).await
    }

    async fn send(
        &mut self,
        topic: &str,
        key: &[u8],
        value: &[u8],
        headers: Option<OwnedHeaders>,
    ) -> Result<(), NormalizerError> {
        let bytes = key.len() + value.len() + MESSAGE_BYTES;
        while !self.in_flight.is_empty() && (self.bytes + bytes > WINDOW_BYTES || self.in_flight.len() >= WINDOW_EVENTS)
        {
            self.wait_for_first().await?;
        }
        self.bytes += bytes;
        self.in_flight.push_back((bytes, self.events.send(topic, key, value, headers).await?));
        Ok(())
    }

    async fn wait_for_first(&mut self) -> Result<(), NormalizerError> {
        let Some((bytes, delivery)) = self.in_flight.pop_front() else { return Ok(()) };
        self.bytes -= bytes;
        wait_for_delivery(delivery).await?;
        if let Some(progress) = self.progress {
            progress.count_acknowledgement();
        }
        Ok(())
    }

    /// Waits until every event is acknowledged.
    pub(super) async fn wait_for_all(&mut self) -> Result<(), NormalizerError> {
        while !self.in_flight.is_empty() {
            self.wait_for_first().await?;
        }
        Ok(())
    }
}

pub(super) async fn wait_for_delivery(delivery: DeliveryFuture) -> Result<(), NormalizerError> {
    delivery.await.map_err(|_| NormalizerError::NoReport)?.map_err(|(error, _)| error)?;
    Ok(())
}

fn headers(letter: &DeadLetter) -> OwnedHeaders {
    letter
        .headers()
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

/// Adds outcomes to the metrics. Call it once they are acknowledged.
pub(super) fn count_outcomes<'o>(outcomes: impl Iterator<Item = &'o Outcome>) {
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
