//! Reads a compacted topic of one partition from its beginning.

use std::time::{Duration, Instant};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use crate::kafka::KafkaSettings;

/// What was read from a compacted topic.
pub struct Contents {
    /// The keys and values, in the order in which they were appended. Records without a value are left out.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether everything was read that was on the topic when the reading began.
    pub is_complete: bool,
}

/// Reads what can be read within `timeout`. The consumer joins no group, but librdkafka requires the id of one. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn read(settings: &KafkaSettings, topic: &str, group: &str, timeout: Duration) -> Result<Contents, KafkaError> {
    let consumer: BaseConsumer =
        settings.client().set("group.id", group).set("enable.auto.commit", "false").create()?;
    let (_, end) = consumer.fetch_watermarks(topic, 0, timeout)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let deadline = Instant::now() + timeout;
    let mut records = Vec::new();
    let mut next = 0;
    while next < end && Instant::now() < deadline {
        let Some(message) = consumer.poll(Duration::from_millis(50)) else {
            // Compaction may have removed the last messages.
            let position = consumer.position()?;
            if position.find_partition(topic, 0).is_some_and(|position| position.offset() == Offset::Offset(end)) {
                next = end;
            }
            continue;
        };
        let message = message?;
        next = message.offset() + 1;
        if let (Some(key), Some(value)) = (message.key(), message.payload()) {
            records.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(Contents { records, is_complete: next >= end })
}
