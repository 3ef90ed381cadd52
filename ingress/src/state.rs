//! The state that all requests share.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge, Histogram};
use schemas::{content::ContentKey, format::PerRawTopic, receipt::ReceiptKey};
use service::http::body::BodyLimits;

use crate::{
    config::IngressConfig, error::IngressError, keys::KeyRing, raw_log::RawLog, upload::capacity::UploadCapacity,
};

/// The shared state; clones are cheap.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// The fields of [`AppState`].
pub(crate) struct Shared {
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) log: Arc<dyn RawLog>,
    pub(crate) receipt_key: ReceiptKey,
    pub(crate) content_key: ContentKey,
    pub(crate) topic_epoch: u16,
    pub(crate) limits: BodyLimits,
    pub(crate) uploads: UploadCapacity,
    pub(crate) produce_timeout: Duration,
    pub(crate) has_docs: bool,
    pub(crate) meters: Meters,
}

/// The keys that are derived from the installation's secret.
pub struct SecretKeys {
    /// Signs receipts.
    pub receipt: ReceiptKey,
    /// Computes the keyed hashes of bodies.
    pub content: ContentKey,
}

impl SecretKeys {
    /// Derives both keys.
    ///
    /// # Errors
    /// [`IngressError::ReceiptKeyForm`].
    pub fn derive(secret: &[u8; 32]) -> Result<Self, IngressError> {
        let receipt = ReceiptKey::new(secret).map_err(|_| IngressError::ReceiptKeyForm)?;
        let content = ContentKey::derive(secret).map_err(|_| IngressError::ReceiptKeyForm)?;
        Ok(Self { receipt, content })
    }
}

/// Handles to the metrics of the hot path, looked up once.
pub(crate) struct Meters {
    pub(crate) requests: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) produce_seconds: Histogram,
    /// Accepted requests, by the topic on which they are stored.
    pub(crate) accepted: PerRawTopic<Counter>,
}

impl Meters {
    fn new() -> Self {
        describe();
        Self {
            requests: metrics::counter!("device_manager_ingress_requests_total"),
            in_flight: metrics::gauge!("device_manager_ingress_requests_in_flight"),
            produce_seconds: metrics::histogram!("device_manager_ingress_produce_seconds"),
            accepted: PerRawTopic::new(
                |topic| metrics::counter!("device_manager_ingress_accepted_total", "topic" => topic.as_str()),
            ),
        }
    }
}

fn describe() {
    metrics::describe_counter!("device_manager_ingress_requests_total", "Requests received, of any kind.");
    metrics::describe_counter!(
        "device_manager_ingress_accepted_total",
        "Requests answered 2xx after Kafka's acknowledgement."
    );
    metrics::describe_counter!("device_manager_ingress_rejected_total", "Requests refused, by reason.");
    metrics::describe_gauge!("device_manager_ingress_requests_in_flight", "Requests in progress.");
    metrics::describe_histogram!(
        "device_manager_ingress_produce_seconds",
        "Time spent waiting for Kafka to acknowledge a record."
    );
}

impl AppState {
    /// Assembles the shared state.
    #[must_use]
    pub fn new(keys: Arc<KeyRing>, log: Arc<dyn RawLog>, secrets: SecretKeys, config: &IngressConfig) -> Self {
        Self(Arc::new(Shared {
            keys,
            log,
            receipt_key: secrets.receipt,
            content_key: secrets.content,
            topic_epoch: config.topic_epoch,
            limits: BodyLimits::from(config),
            uploads: UploadCapacity::from(config),
            produce_timeout: config.produce_timeout,
            has_docs: config.has_docs(),
            meters: Meters::new(),
        }))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }
}
