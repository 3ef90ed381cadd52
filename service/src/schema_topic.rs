//! Reads the compacted topic `schemas`.

use std::time::Duration;

use rdkafka::error::KafkaError;
use schemas::codec::Fingerprint;

use crate::{cluster::Cluster, compacted_topic};

/// Returns the published schemas that can be read within `timeout`. The key of a message is the fingerprint in 16 hexadecimal
/// digits, the value is the text. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn read(cluster: &Cluster, group: &str, timeout: Duration) -> Result<Vec<(Fingerprint, String)>, KafkaError> {
    let published = compacted_topic::read(&cluster.settings, &cluster.topics.schemas(), group, timeout)?;
    let schema = |(key, text): (Vec<u8>, Vec<u8>)| Some((fingerprint(&key)?, String::from_utf8(text).ok()?));
    Ok(published.records.into_iter().filter_map(schema).collect())
}

fn fingerprint(key: &[u8]) -> Option<Fingerprint> {
    let key = std::str::from_utf8(key).ok().filter(|key| key.len() == 16)?;
    u64::from_str_radix(key, 16).ok().map(|number| Fingerprint(number.to_be_bytes()))
}
