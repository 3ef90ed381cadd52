//! Publishes schemas to the compacted topic, before the first event that uses them.

use std::time::Duration;

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use schemas::codec::own_schemas;

use super::{
    config::NormalizerConfig,
    error::NormalizerError,
    produce::{EventProducer, wait_for_delivery},
};

const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns whether a topic exists. Producing to one that does not would fail only after its timeout, as if Kafka did not answer.
pub(super) async fn has_topic(config: &NormalizerConfig, topic: String) -> Result<bool, NormalizerError> {
    let client = config.kafka.client();
    let exists = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.create()?;
        let metadata = consumer.fetch_metadata(Some(&topic), QUERY_TIMEOUT)?;
        Ok::<_, KafkaError>(metadata.topics().iter().any(|found| !found.partitions().is_empty()))
    });
    Ok(exists.await??)
}

/// Publishes every schema of this release under its fingerprint. Publishing a schema again has no effect, because the topic is
/// compacted by key.
pub(super) async fn publish_schemas(config: &NormalizerConfig, events: &EventProducer) -> Result<(), NormalizerError> {
    let mut deliveries = Vec::new();
    for own in own_schemas()? {
        let key = own.fingerprint.to_string();
        deliveries.push(events.send(&config.topics.schemas(), key.as_bytes(), own.text.as_bytes(), None).await?);
    }
    for delivery in deliveries {
        wait_for_delivery(delivery).await?;
    }
    Ok(())
}
