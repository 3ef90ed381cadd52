//! Publishes schemas to the compacted topic, before the first event that uses them.

use schemas::codec::own_schemas;

use super::{
    config::NormalizerConfig,
    error::NormalizerError,
    produce::{Events, acknowledged},
};

/// Publishes every schema of this release under its fingerprint. Publishing a schema again has no effect, because the topic is
/// compacted by key.
pub(super) async fn schemas(config: &NormalizerConfig, events: &Events) -> Result<(), NormalizerError> {
    let mut waiting = Vec::new();
    for own in own_schemas()? {
        let key = own.fingerprint.to_string();
        waiting.push(events.send(&config.topics.schemas(), key.as_bytes(), own.text.as_bytes(), None).await?);
    }
    for delivery in waiting {
        acknowledged(delivery).await?;
    }
    Ok(())
}
