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

/// Returns the topic of schemas if it does not exist. Producing to it would fail only after its timeout, as if Kafka did not answer.
pub(super) async fn missing_topic(config: &NormalizerConfig) -> Result<Option<String>, NormalizerError> {
    let (client, topic) = (config.kafka.client(), config.topics.schemas());
    let exists = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.create()?;
        let metadata = consumer.fetch_metadata(Some(&topic), QUERY_TIMEOUT)?;
        let exists = metadata.topics().iter().any(|found| !found.partitions().is_empty());
        Ok::<_, KafkaError>((!exists).then_some(topic))
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
