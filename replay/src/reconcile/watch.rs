//! The continuous check: compares what outcomes promise with what is stored, once for each raw record.
//!
//! It reads from Kafka only the positions of the normalizers and the ends of the event topics, and the offsets without an outcome. A
//! record is compared when the sinks have come to where the event topics ended after the normalizers had finished it. What does not
//! balance is compared once more after the next pause, and counts only then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use normalizer::NormalizerConfig;
use rdkafka::{Message as _, error::KafkaError};
use schemas::format::RawTopic;
use sqlx::{Connection as _, PgConnection};
use store::{
    connect::{close, connect},
    reconcile as stored,
    replay::RawRange,
    trace,
};
use tokio_util::sync::CancellationToken;

use super::{
    CHUNK_OFFSETS,
    balance::{AtOffset, Chunk, Finished, compare},
    raw_log,
    survey::{self, Commit},
};
use crate::{
    error::ReplayError,
    log::{RawLog, partitions},
};

/// The maximum number of chunks of a partition in one check, so that a check after a pause of days does not take all resources.
const CHUNKS_MAX: usize = 20;

/// The settings of the continuous check.
#[derive(Clone)]
pub struct WatchConfig {
    /// The settings of the normalizers, whose group says how far they have come.
    pub normalizer: NormalizerConfig,
    /// The address of the Postgres database.
    pub database_url: String,
    /// The time between two checks.
    pub every: Duration,
}

/// How far the stages were at a moment.
struct Snapshot {
    /// How far the normalizers had come in each partition of the raw topics.
    finished: Vec<(RawRange, Finished)>,
    /// Where the event topics ended afterwards.
    ends: BTreeMap<(String, i32), i64>,
}

struct Watch {
    config: WatchConfig,
    log: RawLog,
    snapshot: Option<Snapshot>,
    /// The chunks that did not balance in the last check.
    suspects: BTreeSet<Position>,
}

/// The topic, the partition and the first offset of a chunk.
type Position = (RawTopic, i32, i64);

/// Checks until it is asked to stop. A check that fails, because Kafka or Postgres is unavailable, is repeated after the pause.
///
/// # Errors
/// A panic, which is a defect.
pub async fn watch(config: WatchConfig, shutdown: CancellationToken) -> Result<(), ReplayError> {
    // On a thread of its own, because rustc cannot prove that the future is `Send`.
    let handle = tokio::runtime::Handle::current();
    Ok(tokio::task::spawn_blocking(move || handle.block_on(run(config, shutdown))).await?)
}

async fn run(config: WatchConfig, shutdown: CancellationToken) {
    metrics::describe_counter!(
        "device_manager_unaccounted_total",
        "Items and raw records that are missing, or stored more often than promised, by raw topic."
    );
    metrics::describe_counter!(
        "device_manager_accounted_records_total",
        "Raw records that were checked, by raw topic."
    );
    for topic in RawTopic::ALL {
        metrics::counter!("device_manager_unaccounted_total", "topic" => topic.as_str()).increment(0);
        metrics::counter!("device_manager_accounted_records_total", "topic" => topic.as_str()).increment(0);
    }
    let (every, log) = (config.every, raw_log(&config.normalizer));
    let mut watch = Watch { config, log, snapshot: None, suspects: BTreeSet::new() };
    while shutdown.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        match shutdown.run_until_cancelled(watch.check()).await {
            Some(Ok(())) | None => {}
            // The stage reports that Kafka or Postgres is unavailable.
            Some(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a check of the ledger failed");
            }
        }
    }
}

impl Watch {
    async fn check(&mut self) -> Result<(), ReplayError> {
        if let Some(snapshot) = self.snapshot.take() {
            let mut connection = connect(&self.config.database_url).await?;
            let checked = self.check_snapshot(&mut connection, &snapshot).await;
            close(connection).await;
            if !checked? {
                // The sinks have not come as far.
                self.snapshot = Some(snapshot);
                return Ok(());
            }
        }
        let (log, group) = (self.log.clone(), self.config.normalizer.group.clone());
        self.snapshot = Some(tokio::task::spawn_blocking(move || take_snapshot(&log, &group)).await??);
        Ok(())
    }

    /// Compares the records that were finished. Returns false if the sinks have not written their events yet.
    async fn check_snapshot(
        &mut self,
        connection: &mut PgConnection,
        snapshot: &Snapshot,
    ) -> Result<bool, ReplayError> {
        let next: BTreeMap<(String, i32), i64> = trace::next_offsets(connection)
            .await?
            .into_iter()
            .map(|next| ((next.topic, next.partition), next.next_offset))
            .collect();
        let is_written =
            |(key, end): (&(String, i32), &i64)| *end == 0 || next.get(key).is_some_and(|next| next >= end);
        if !snapshot.ends.iter().all(is_written) {
            return Ok(false);
        }
        let last = std::mem::take(&mut self.suspects);
        for (range, finished) in &snapshot.finished {
            let mut transaction = connection.begin().await?;
            let Some(first) = stored::lock_accounted(&mut transaction, range).await? else { continue };
            let mut range = RawRange { first, ..*range };
            for _ in 0..CHUNKS_MAX {
                let chunk = RawRange { end: range.end.min(range.first + CHUNK_OFFSETS), ..range };
                if chunk.first >= chunk.end || !self.check_chunk(&mut transaction, &chunk, *finished, &last).await? {
                    break;
                }
                stored::set_accounted(&mut transaction, &chunk).await?;
                range.first = chunk.end;
            }
            transaction.commit().await?;
        }
        Ok(true)
    }

    /// Compares a chunk, and counts what does not balance if it did not in the last check either. Returns whether to continue after it.
    async fn check_chunk(
        &mut self,
        connection: &mut PgConnection,
        range: &RawRange,
        finished: Finished,
        last: &BTreeSet<Position>,
    ) -> Result<bool, ReplayError> {
        let runs = stored::runs(connection, range).await?;
        let records = stored::records(connection, range).await?;
        let (log, part, gaps) = (self.log.clone(), *range, gaps(range, &runs));
        let offsets = tokio::task::spawn_blocking(move || at_offsets(&log, &part, &gaps)).await??;
        let chunk = Chunk { topic: range.topic, first: range.first, offsets, finished };
        let balance = compare(&chunk, &runs, &records);
        let (topic, unaccounted) = (range.topic.as_str(), balance.unaccounted());
        let position = (range.topic, range.partition, range.first);
        if unaccounted > 0 && !last.contains(&position) {
            self.suspects.insert(position);
            return Ok(false);
        }
        if unaccounted > 0 {
            let RawRange { partition, first, end, .. } = *range;
            tracing::error!(
                topic,
                partition,
                first,
                end,
                unaccounted,
                "items are missing or stored twice: `device-manager reconcile` lists them"
            );
        }
        metrics::counter!("device_manager_unaccounted_total", "topic" => topic).increment(unaccounted);
        metrics::counter!("device_manager_accounted_records_total", "topic" => topic).increment(balance.counts.records);
        Ok(true)
    }
}

/// Returns how far the stages are: first the normalizers, then the ends of the topics that they write to. Blocks.
fn take_snapshot(log: &RawLog, group: &str) -> Result<Snapshot, KafkaError> {
    let consumer = log.consumer()?;
    let mut all = Vec::new();
    for topic in RawTopic::ALL.iter().copied() {
        let numbers = partitions(&consumer, &log.topics.raw(topic))?;
        let commits = survey::commits(log, topic, group, &numbers)?;
        all.extend(numbers.into_iter().zip(commits).filter_map(|(partition, commit)| {
            let Commit { finished, epoch } = commit?;
            // What the normalizers have not committed is in flight.
            let range = RawRange { topic, topic_epoch: epoch?, partition, first: 0, end: finished.committed };
            Some((range, finished))
        }));
    }
    Ok(Snapshot { finished: all, ends: log.ends_of_events()? })
}

/// Returns the parts of a range that no outcome covers.
fn gaps(range: &RawRange, runs: &[stored::StoredRun]) -> Vec<RawRange> {
    let mut next = range.first;
    let mut gaps = Vec::new();
    for run in runs {
        gaps.push(RawRange { first: next, end: run.first.min(range.end), ..*range });
        next = run.last + 1;
    }
    gaps.push(RawRange { first: next, ..*range });
    gaps.retain(|gap| gap.first < gap.end);
    gaps
}

/// Returns what Kafka has at the offsets of a range. Only the gaps are read: where there is an outcome, there was a record. Blocks.
fn at_offsets(log: &RawLog, range: &RawRange, gaps: &[RawRange]) -> Result<Vec<AtOffset>, ReplayError> {
    let length = usize::try_from(range.end - range.first).unwrap_or(0);
    let mut offsets = vec![AtOffset::Record; length];
    if gaps.is_empty() {
        return Ok(offsets);
    }
    let start = survey::bounds(log, range)?.start;
    for gap in gaps {
        for offset in gap.first..gap.end {
            set(&mut offsets, offset - range.first, AtOffset::Nothing);
        }
        log.visit(&RawRange { first: gap.first.max(start), ..*gap }, |message| {
            let at = if message.payload().is_some() { AtOffset::Record } else { AtOffset::NoValue };
            set(&mut offsets, message.offset() - range.first, at);
            Ok(true)
        })?;
    }
    Ok(offsets)
}

fn set(offsets: &mut [AtOffset], at: i64, to: AtOffset) {
    if let Some(place) = usize::try_from(at).ok().and_then(|at| offsets.get_mut(at)) {
        *place = to;
    }
}
