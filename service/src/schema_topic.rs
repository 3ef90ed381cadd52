//! Reads the compacted topic `schemas` from its beginning.

use std::time::{Duration, Instant};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use schemas::codec::Fingerprint;

use crate::cluster::Cluster;

/// Returns the published schemas that can be read within `timeout`. The key of a message is the fingerprint in 16 hexadecimal
/// digits, the value is the text. The consumer joins no group, but librdkafka requires the id of one. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn read(cluster: &Cluster, group: &str, timeout: Duration) -> Result<Vec<(Fingerprint, String)>, KafkaError> {
    let topic = cluster.topics.schemas();
    let consumer: BaseConsumer =
        cluster.settings.client().set("group.id", group).set("enable.auto.commit", "false").create()?;
    let (_, end) = consumer.fetch_watermarks(&topic, 0, timeout)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let deadline = Instant::now() + timeout;
    let mut found = Vec::new();
    let mut next = 0;
    while next < end && Instant::now() < deadline {
        let Some(message) = consumer.poll(Duration::from_millis(50)) else {
            // Compaction may have removed the last messages.
            if consumer
                .position()?
                .find_partition(&topic, 0)
                .is_some_and(|position| position.offset() == Offset::Offset(end))
            {
                break;
            }
            continue;
        };
        let message = message?;
        next = message.offset() + 1;
        let key = message.key().and_then(|key| std::str::from_utf8(key).ok()).and_then(fingerprint);
        let text = message.payload().and_then(|value| std::str::from_utf8(value).ok());
        if let (Some(key), Some(text)) = (key, text) {
            found.push((key, text.to_owned()));
        }
    }
    Ok(found)
}

fn fingerprint(key: &str) -> Option<Fingerprint> {
    if key.len() != 16 {
        return None;
    }
    u64::from_str_radix(key, 16).ok().map(|number| Fingerprint(number.to_be_bytes()))
}
