//! Finds what a payload that has not arrived waits for: how far the normalizers and the sinks have read.

use std::time::Duration;

use normalizer::{group_of, mapped_until};
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use schemas::receipt::ItemPosition;
use service::cluster::Cluster;
use store::trace::NextOffset;

use super::{raw_log::unread_events, reach};
use crate::error::CommandError;

const ANSWER: Duration = Duration::from_secs(10);

/// Asks the brokers what a payload waits for.
pub(super) async fn explain(
    cluster: &Cluster,
    group: &str,
    position: ItemPosition,
    next: Vec<NextOffset>,
) -> Result<String, CommandError> {
    reach(&cluster.settings).await?;
    let (cluster, group) = (cluster.clone(), group.to_owned());
    let explained = tokio::task::spawn_blocking(move || {
        explain_blocking(&cluster, &group, position, &next).map_err(|error| CommandError::failed("asking Kafka", error))
    });
    explained.await.map_err(|error| CommandError::failed("asking Kafka", error))?
}

/// The blocking part of `explain`.
fn explain_blocking(
    cluster: &Cluster,
    group: &str,
    position: ItemPosition,
    next: &[NextOffset],
) -> Result<String, KafkaError> {
    let ItemPosition { topic, partition, offset, .. } = position;
    let raw = cluster.topics.raw(topic);
    let consumer: BaseConsumer = cluster.settings.client().set("group.id", group_of(group, topic)).create()?;
    let (start, end) = consumer.fetch_watermarks(&raw, partition, ANSWER)?;
    if !(start..end).contains(&offset) {
        let extent =
            if start == end { "it is empty".to_owned() } else { format!("it has the records {start} to {}", end - 1) };
        return Ok(format!(
            "{raw} partition {partition} has no record {offset}: {extent}. The record was deleted, or it is on another Kafka"
        ));
    }
    let mut list = TopicPartitionList::new();
    list.add_partition(&raw, partition);
    let committed = consumer.committed_offsets(list, ANSWER)?;
    let mapped = committed.find_partition(&raw, partition).and_then(|found| {
        let offset = found.offset().to_raw().filter(|offset| *offset >= 0)?;
        Some(mapped_until(offset, found.metadata()))
    });
    let mapped = mapped.unwrap_or(start);
    if mapped <= offset {
        let before = offset - mapped;
        return Ok(format!("it waits for the normalizer, which reads {before} other records of its partition first"));
    }
    let unread = unread_events(cluster, next)?;
    Ok(format!("it is normalized and waits for the sink, which has {unread} events to read, including its own"))
}
