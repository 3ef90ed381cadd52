//! The raw topics on a real cluster: an idempotent producer, and a probe that reports whether it works.

use std::{
    mem,
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use rdkafka::{
    ClientConfig, ClientContext, Message, Statistics,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};
use schemas::format::{PerRawTopic, RawTopic};
use service::{cluster::Cluster, health::StageHealth, kafka::because, rebootstrap::Rebootstrap, topics::not_there};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Acknowledgement, AppendError, Appended, Destination, RawAppend, RawLog};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// The interval between probes until the cluster is ready for the first time.
const PROBE_AT_START: Duration = Duration::from_millis(100);
/// The interval of librdkafka's statistics, which show whether the broker has assigned the producer its id.
const STATISTICS_MS: &str = "200";

/// What librdkafka reports about the producer. Shared by successive producers.
#[derive(Clone, Default)]
struct ProducerReports {
    /// How many records were not acknowledged.
    unacknowledged: Arc<AtomicU64>,
    /// Whether the broker has assigned the producer id that idempotence requires. Nothing is sent before that, and the
    /// assignment takes up to a second after a start.
    has_id: Arc<AtomicBool>,
}

impl ProducerReports {
    /// Returns the fault to report if a record was not acknowledged since the last call. `seen` is the number at that call.
    fn fault(&self, seen: &mut u64) -> Option<String> {
        let unacknowledged = self.unacknowledged.load(Ordering::Relaxed);
        let before = mem::replace(seen, unacknowledged);
        (unacknowledged > before).then(|| "Kafka does not acknowledge in time".to_owned())
    }
}

/// Forwards each delivery report to the request that waits for it.
struct DeliveryReports(ProducerReports);

impl ClientContext for DeliveryReports {
    fn stats(&self, statistics: Statistics) {
        // Without idempotence the statistics have no such state, and a retried record could be duplicated.
        let has_id = statistics.eos.is_some_and(|eos| eos.idemp_state == "Assigned");
        self.0.has_id.store(has_id, Ordering::Relaxed);
    }
}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = Box<oneshot::Sender<Result<Appended, AppendError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, responder: Self::DeliveryOpaque) {
        let answer = match result {
            // The broker acknowledges a batch that it already has without an offset: the record is stored, but no receipt can
            // be issued.
            Ok(message) if message.offset() < 0 => Err(AppendError::NotAcknowledged(None)),
            Ok(message) => Ok(Appended { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(AppendError::NotAcknowledged(error.rdkafka_error_code())),
        };
        if answer.is_err() {
            self.0.unacknowledged.fetch_add(1, Ordering::Relaxed);
        }
        // The request may already have ended, because it timed out or its client disconnected.
        let _gone = responder.send(answer);
    }
}

/// The raw topics on a real cluster.
pub struct KafkaLog {
    producer: ArcSwap<ThreadedProducer<DeliveryReports>>,
    config: ClientConfig,
    topics: PerRawTopic<RawTopicState>,
    reports: ProducerReports,
    /// Whether the last probe found no fault.
    works: AtomicBool,
}

/// A raw topic on the cluster.
struct RawTopicState {
    name: String,
    /// The number of partitions at the last probe; 0 before the first.
    partitions: AtomicU16,
}

impl KafkaLog {
    /// Creates the producer. Does not wait for the cluster.
    ///
    /// # Errors
    /// librdkafka rejects the settings.
    pub fn new(cluster: &Cluster, produce_timeout: Duration) -> Result<Self, KafkaError> {
        let mut config = cluster.settings.producer();
        config.set("message.timeout.ms", produce_timeout.as_millis().to_string());
        config.set("statistics.interval.ms", STATISTICS_MS);
        let reports = ProducerReports::default();
        let producer = create_producer(&config, &reports)?;
        Ok(Self {
            producer: ArcSwap::from_pointee(producer),
            config,
            topics: PerRawTopic::new(|topic| RawTopicState {
                name: cluster.topics.raw(topic),
                partitions: AtomicU16::new(0),
            }),
            reports,
            works: AtomicBool::new(false),
        })
    }

    /// Returns whether the last probe found no fault.
    pub(crate) fn works(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }

    /// Waits until all queued records have been acknowledged or have failed. Blocks.
    ///
    /// # Errors
    /// The timeout has passed.
    pub fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        self.producer.load().flush(timeout)
    }

    /// Probes the cluster until `shutdown`, reports on `/ready` what ingress waits for, and replaces a producer that has had a
    /// fatal error. While ingress waits, requests are answered with 503.
    pub async fn watch(
        self: Arc<Self>,
        mut rebootstrap: Rebootstrap,
        health: StageHealth,
        shutdown: CancellationToken,
    ) {
        let mut seen = 0;
        let mut pause = PROBE_AT_START;
        loop {
            rebootstrap.check(self.producer.load().client());
            let log = Arc::clone(&self);
            let probed = tokio::task::spawn_blocking(move || log.probe()).await;
            let fault = match probed {
                Ok(fault) => fault,
                Err(_) => Some("the probe of Kafka failed unexpectedly".to_owned()),
            };
            let unacknowledged = self.reports.fault(&mut seen);
            let fault = fault.or(unacknowledged);
            self.works.store(fault.is_none(), Ordering::Relaxed);
            match fault {
                None => {
                    health.ready();
                    pause = PROBE_EVERY;
                }
                Some(reason) => health.waiting(&reason),
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn probe(&self) -> Option<String> {
        let producer = self.producer.load_full();
        if let Some((code, _)) = producer.client().fatal_error() {
            tracing::error!(%code, "the producer has had a fatal error and is replaced");
            match create_producer(&self.config, &self.reports) {
                Ok(producer) => self.producer.store(Arc::new(producer)),
                Err(_) => return Some("the Kafka producer cannot be created".to_owned()),
            }
        }
        let Ok(metadata) = producer.client().fetch_metadata(None, PROBE_TIMEOUT) else {
            return Some(because("Kafka does not answer"));
        };
        for topic_state in RawTopic::ALL.iter().map(|topic| self.topics.get(*topic)) {
            let found = metadata.topics().iter().find(|found| found.name() == topic_state.name);
            let count = found.map_or(0, |found| u16::try_from(found.partitions().len()).unwrap_or(u16::MAX));
            if count == 0 {
                return Some(not_there(&topic_state.name));
            }
            topic_state.partitions.store(count, Ordering::Relaxed);
        }
        let has_id = self.reports.has_id.load(Ordering::Relaxed);
        (!has_id).then(|| "Kafka has not assigned the producer id yet".to_owned())
    }
}

impl RawLog for KafkaLog {
    fn append(&self, record: &RawAppend<'_>) -> Result<Acknowledgement, AppendError> {
        let (responder, acknowledgement) = oneshot::channel();
        let mut headers = OwnedHeaders::new_with_capacity(12);
        for (key, value) in record.headers.pairs() {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let topic_state = self.topics.get(record.topic);
        let mut message =
            BaseRecord::with_opaque_to(&topic_state.name, Box::new(responder)).payload(record.body).headers(headers);
        message = match record.destination {
            Destination::Key(key) => message.key(key),
            Destination::Partition(partition) => message.partition(partition),
        };
        match self.producer.load().send(message) {
            Ok(()) => Ok(acknowledgement),
            Err((error, _)) => {
                self.reports.unacknowledged.fetch_add(1, Ordering::Relaxed);
                Err(match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) => AppendError::QueueFull,
                    code => AppendError::NotAcknowledged(code),
                })
            }
        }
    }

    fn partitions(&self, topic: RawTopic) -> Option<NonZeroU16> {
        NonZeroU16::new(self.topics.get(topic).partitions.load(Ordering::Relaxed))
    }
}

fn create_producer(
    config: &ClientConfig,
    reports: &ProducerReports,
) -> Result<ThreadedProducer<DeliveryReports>, KafkaError> {
    reports.has_id.store(false, Ordering::Relaxed);
    config.create_with_context(DeliveryReports(reports.clone()))
}

#[cfg(test)]
mod tests {
    use schemas::topic::Topics;
    use service::kafka::KafkaSettings;

    use super::*;

    /// Checks the settings only: on a single broker, a test cannot observe that all replicas acknowledge.
    #[test]
    fn the_producer_waits_for_all_replicas_and_is_idempotent() {
        let cluster = Cluster { settings: KafkaSettings::new("127.0.0.1:1"), topics: Topics::new("") };
        let log = KafkaLog::new(&cluster, Duration::from_millis(1_234)).unwrap();
        for (property, value) in [("acks", "all"), ("enable.idempotence", "true"), ("message.timeout.ms", "1234")] {
            assert_eq!(log.config.get(property), Some(value), "{property}");
        }
        assert_eq!(log.partitions(RawTopic::Medisante), None, "the topics have not been probed yet");
    }

    #[test]
    fn a_record_that_was_not_acknowledged_is_reported_once() {
        let (reports, mut seen) = (ProducerReports::default(), 0);
        assert_eq!(reports.fault(&mut seen), None);
        reports.unacknowledged.fetch_add(2, Ordering::Relaxed);
        assert!(reports.fault(&mut seen).is_some_and(|fault| fault.contains("does not acknowledge")));
        assert_eq!(reports.fault(&mut seen), None);
    }
}
