//! Publishes schemas to the compacted topic, before the first event that uses them.

use schemas::codec::own_schemas;

use super::{
    config::NormalizerConfig,
    error::NormalizerError,
    produce::{EventProducer, wait_for_delivery},
};

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
