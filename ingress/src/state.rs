//! What all requests share.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge, Histogram};
use schemas::{content::ContentKey, format::RawTopic, receipt::ReceiptKey};
use tokio::sync::Semaphore;

use crate::{
    body::Limits,
    config::IngressConfig,
    keys::KeyRing,
    raw_log::RawLog,
    upload::{self, Uploads},
};

/// Shared by all requests; clones are cheap.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// The parts of [`AppState`].
pub(crate) struct Shared {
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) log: Arc<dyn RawLog>,
    pub(crate) receipt_key: ReceiptKey,
    pub(crate) content_key: ContentKey,
    pub(crate) topic_epoch: u16,
    pub(crate) limits: Limits,
    pub(crate) uploads: Uploads,
    pub(crate) produce_timeout: Duration,
    pub(crate) has_docs: bool,
    pub(crate) meters: Meters,
}

/// Handles on the metrics of the hot path, looked up once.
pub(crate) struct Meters {
    pub(crate) requests: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) produce_seconds: Histogram,
    medisante: Counter,
    healthkit: Counter,
    devices: Counter,
    uploads: Counter,
}

impl Meters {
    fn new() -> Self {
        describe();
        let accepted =
            |topic: RawTopic| metrics::counter!("device_manager_ingress_accepted_total", "topic" => topic.as_str());
        Self {
            requests: metrics::counter!("device_manager_ingress_requests_total"),
            in_flight: metrics::gauge!("device_manager_ingress_requests_in_flight"),
            produce_seconds: metrics::histogram!("device_manager_ingress_produce_seconds"),
            medisante: accepted(RawTopic::Medisante),
            healthkit: accepted(RawTopic::HealthKit),
            devices: accepted(RawTopic::Devices),
            uploads: accepted(RawTopic::Uploads),
        }
    }

    pub(crate) fn accepted(&self, topic: RawTopic) -> &Counter {
        match topic {
            RawTopic::Medisante => &self.medisante,
            RawTopic::HealthKit => &self.healthkit,
            RawTopic::Devices => &self.devices,
            RawTopic::Uploads => &self.uploads,
        }
    }
}

fn describe() {
    metrics::describe_counter!("device_manager_ingress_requests_total", "Requests that began, of any kind.");
    metrics::describe_counter!(
        "device_manager_ingress_accepted_total",
        "Requests answered 2xx after Kafka's acknowledgement."
    );
    metrics::describe_counter!("device_manager_ingress_rejected_total", "Requests refused, by reason.");
    metrics::describe_gauge!("device_manager_ingress_requests_in_flight", "Requests that have begun and not ended.");
    metrics::describe_histogram!("device_manager_ingress_produce_seconds", "From queueing a record to Kafka's answer.");
}

impl AppState {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        keys: Arc<KeyRing>,
        log: Arc<dyn RawLog>,
        (receipt_key, content_key): (ReceiptKey, ContentKey),
        config: &IngressConfig,
    ) -> Self {
        Self(Arc::new(Shared {
            keys,
            log,
            receipt_key,
            content_key,
            topic_epoch: config.topic_epoch,
            limits: Limits { bytes_max: config.body_bytes_max, time_max: config.body_timeout },
            uploads: Uploads {
                slots: Semaphore::new(config.uploads_max),
                limits: upload::Limits {
                    bytes_max: config.upload_bytes_max,
                    time_max: config.upload_timeout,
                    stall_max: config.body_timeout,
                },
            },
            produce_timeout: config.produce_timeout,
            has_docs: config.has_docs(),
            meters: Meters::new(),
        }))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }
}
