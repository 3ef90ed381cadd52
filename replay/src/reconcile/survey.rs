//! Finds which records are compared, and how far the normalizers have come.

use std::ops::Range;

use normalizer::{epoch_of, group_of, mapped_until};
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use schemas::format::RawTopic;
use sqlx::PgPool;
use store::{reconcile as stored, replay::RawRange};
use time::OffsetDateTime;

use super::balance::Finished;
use crate::{
    error::ReplayError,
    log::{ANSWER, RawLog, offset_at, partitions},
};

/// The raw records that are compared. An absent condition does not restrict it.
#[derive(Clone)]
pub struct Extent {
    /// The raw topics.
    pub topics: Vec<RawTopic>,
    /// Only this partition.
    pub partition: Option<i32>,
    /// Only records from this offset on.
    pub from: Option<i64>,
    /// Only records before this offset.
    pub to: Option<i64>,
    /// Only records that Kafka received at this time or later.
    pub since: Option<OffsetDateTime>,
    /// Only records that Kafka received before this time.
    pub until: Option<OffsetDateTime>,
}

impl Extent {
    /// Returns the extent of all records of topics.
    #[must_use]
    pub const fn of(topics: Vec<RawTopic>) -> Self {
        Self { topics, partition: None, from: None, to: None, since: None, until: None }
    }

    /// Checks that a topic exists, and has the partition that is to be compared.
    fn require_partition(&self, topic: &str, partitions: &[i32]) -> Result<(), ReplayError> {
        let (Some(first), Some(last)) = (partitions.iter().min(), partitions.iter().max()) else {
            return Err(ReplayError::Extent(format!("there is no topic {topic}; TOPIC_PREFIX is a part of the name")));
        };
        match self.partition {
            Some(partition) if !partitions.contains(&partition) => Err(ReplayError::Extent(format!(
                "{topic} has no partition {partition}; it has the partitions {first} to {last}"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the offsets that are to be compared are some of those that a partition has, or had.
    fn require_offsets(&self, topic: &str, partition: i32, log: Range<i64>) -> Result<(), ReplayError> {
        let from = self.from.unwrap_or(0);
        let has = || format!("{topic} partition {partition} has the offsets from {} to before {}", log.start, log.end);
        if let Some(to) = self.to.filter(|to| from >= *to) {
            return Err(ReplayError::Extent(format!("no offset is from {from} on and before {to}; {}", has())));
        }
        if from > 0 && from >= log.end {
            return Err(ReplayError::Extent(format!("there is no offset {from}; {}", has())));
        }
        Ok(())
    }
}

/// The part of a partition that is compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// The offsets in the log.
    pub(super) range: RawRange,
    /// The first offset that the extent covers. Records between it and the range no longer exist.
    pub(super) deleted_from: i64,
    /// Whether the range ends at the end of the log.
    pub(super) is_to_end: bool,
    /// `None` until [`complete`] if the normalizers have committed nothing.
    pub(super) finished: Option<Finished>,
}

/// What the normalizers have committed in a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) finished: Finished,
    /// The topic epoch; `None` if a tool has set the offset.
    pub(super) epoch: Option<u16>,
}

/// Returns the parts that an extent covers. Blocks.
pub(super) fn survey(log: &RawLog, extent: &Extent, group: &str) -> Result<Vec<Part>, ReplayError> {
    let consumer = log.consumer()?;
    let mut parts = Vec::new();
    for topic in extent.topics.iter().copied() {
        let name = log.topics.raw(topic);
        let all = partitions(&consumer, &name)?;
        extent.require_partition(&name, &all)?;
        let commits = commits(log, topic, group, &all)?;
        for (partition, commit) in all.into_iter().zip(commits) {
            if let Some(committed) = commit.and_then(|commit| commit.epoch).filter(|epoch| *epoch != log.topic_epoch) {
                return Err(ReplayError::Epoch { topic: name, committed, given: log.topic_epoch });
            }
            if extent.partition.is_some_and(|only| only != partition) {
                continue;
            }
            let (start, end) = consumer.fetch_watermarks(&name, partition, ANSWER)?;
            extent.require_offsets(&name, partition, start..end)?;
            let at = |time: Option<OffsetDateTime>| match time {
                Some(time) => Ok(Some(offset_at(&consumer, &name, partition, time)?.unwrap_or(end))),
                None => Ok::<_, KafkaError>(None),
            };
            // Before the first record that exists, any time is possible.
            let since = at(extent.since)?.filter(|since| *since > start);
            let from = extent.from.unwrap_or(0).max(since.unwrap_or(0)).min(end);
            let last = extent.to.unwrap_or(end).min(at(extent.until)?.unwrap_or(end)).min(end).max(from);
            let first = from.max(start).min(last);
            let range = RawRange { topic, topic_epoch: log.topic_epoch, partition, first, end: last };
            let is_to_end = last == end && extent.to.is_none_or(|to| to >= end) && extent.until.is_none();
            let finished = commit.map(|commit| commit.finished);
            parts.push(Part { range, deleted_from: from, is_to_end, finished });
        }
    }
    let records = parts.iter().map(|part| part.range.end.abs_diff(part.range.first)).sum();
    if records > 0 && parts.iter().all(|part| part.finished.is_none()) && !has_committed(log, &consumer, group)? {
        return Err(ReplayError::NothingCommitted { group: group.to_owned(), records });
    }
    Ok(parts)
}

/// Whether the normalizers of a group have committed something on any raw topic. Blocks.
fn has_committed(log: &RawLog, consumer: &BaseConsumer, group: &str) -> Result<bool, KafkaError> {
    for topic in RawTopic::ALL.iter().copied() {
        let numbers = partitions(consumer, &log.topics.raw(topic))?;
        if commits(log, topic, group, &numbers)?.iter().any(Option::is_some) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns what the normalizers have committed in partitions of a topic; `None` for a partition without a commit. Blocks.
pub(super) fn commits(
    log: &RawLog,
    topic: RawTopic,
    group: &str,
    partitions: &[i32],
) -> Result<Vec<Option<Commit>>, KafkaError> {
    let name = log.topics.raw(topic);
    let consumer: BaseConsumer = log.settings.client().set("group.id", group_of(group, topic)).create()?;
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&name, *partition);
    }
    let committed = consumer.committed_offsets(list, ANSWER)?;
    let of = |partition: &i32| {
        let found = committed.find_partition(&name, *partition)?;
        let committed = found.offset().to_raw().filter(|offset| *offset >= 0)?;
        let finished = Finished { committed, handled: mapped_until(committed, found.metadata()) };
        Some(Commit { finished, epoch: epoch_of(found.metadata()) })
    };
    Ok(partitions.iter().map(of).collect())
}

/// Returns the offsets that a partition has. Blocks.
pub(super) fn bounds(log: &RawLog, range: &RawRange) -> Result<Range<i64>, KafkaError> {
    let (start, end) = log.consumer()?.fetch_watermarks(&log.topics.raw(range.topic), range.partition, ANSWER)?;
    Ok(start..end)
}

/// Completes the partitions in which the normalizers have committed nothing: they have finished what is before the newest outcome.
pub(super) async fn complete(parts: &mut [Part], pool: &PgPool) -> Result<(), ReplayError> {
    let mut connection = pool.acquire().await?;
    for part in parts.iter_mut().filter(|part| part.finished.is_none()) {
        let newest = stored::newest_end(&mut connection, &part.range).await?;
        part.finished = Some(Finished { committed: newest, handled: newest });
    }
    Ok(())
}
