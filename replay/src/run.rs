//! Runs a comparison.

use std::{
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use normalizer::{MAPPING_VERSION, NormalizerConfig};
use sqlx::PgPool;
use store::{
    reading::load,
    replay::{self, RawRange},
    trace,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use uuid::Uuid;

use crate::{
    batch::{BATCH_READINGS, Mapped},
    compare_batch::Unfinished,
    diff::{ChangeKind, Collector, Diff},
    error::ReplayError,
    log::{Covered, RawLog},
    scope::Scope,
    state::{Pass, Progress, Replay, ReplayConfig},
};

/// How long to wait for the sinks before comparing.
const SINKS_WITHIN: Duration = Duration::from_mins(1);
const SINKS_POLL: Duration = Duration::from_millis(100);

/// Compares, and returns what a replay would change.
///
/// # Errors
/// [`ReplayError`].
pub async fn run(config: ReplayConfig, pool: PgPool, progress: Arc<Progress>) -> Result<Diff, ReplayError> {
    let NormalizerConfig { kafka: settings, topics, topic_epoch, group, .. } = config.normalizer.clone();
    let log = RawLog { settings, topics, topic_epoch, group };
    let holdings = match &config.scope.patient {
        Some(patient) => replay::holdings_of(&mut *pool.acquire().await?, patient.as_str()).await?,
        None => Vec::new(),
    };
    let (reader, scope) = (log.clone(), config.scope.clone());
    let covered = tokio::task::spawn_blocking(move || reader.covered(&scope)).await??;
    let mut collector = Collector::default();
    let mut ranges = Vec::new();
    for Covered { mut range, deleted } in covered {
        let end = finished_until(&log, &pool, &range).await?;
        collector.counts().deleted_records += deleted;
        collector.counts().unfinished_records += u64::try_from(range.end - end).unwrap_or(0);
        range.end = end;
        ranges.push(range);
    }
    wait_for_sinks(&log, &pool).await?;
    collector.counts().mapping_version = MAPPING_VERSION;
    let replay = Arc::new(Replay {
        config,
        log,
        pool,
        holdings,
        collector: Mutex::new(collector),
        missing: Mutex::default(),
        progress,
        started: Instant::now(),
        read: AtomicU64::new(0),
    });
    replay.pass(ranges, Pass::Compare).await?;
    replay.recheck_added().await?;
    replay.withdraw().await?;
    let collector = std::mem::take(&mut *replay.collector());
    Ok(collector.finish())
}

/// Returns the end of the part of a range that the stages have finished. A record without a value has no outcome, and counts as
/// finished.
async fn finished_until(log: &RawLog, pool: &PgPool, range: &RawRange) -> Result<i64, ReplayError> {
    let mut rest = *range;
    loop {
        rest.first = replay::stored_until(&mut *pool.acquire().await?, &rest).await?;
        if rest.first >= range.end {
            return Ok(rest.first);
        }
        let (reader, next) = (log.clone(), RawRange { end: rest.first + 1, ..rest });
        let has_value = tokio::task::spawn_blocking(move || reader.has_value(&next)).await??;
        if has_value {
            return Ok(rest.first);
        }
        rest.first += 1;
    }
}

/// Waits until the sinks have written the readings that are on their topics at this moment, so that a reading on its way does not
/// count as added.
async fn wait_for_sinks(log: &RawLog, pool: &PgPool) -> Result<(), ReplayError> {
    let (reader, deadline) = (log.clone(), Instant::now() + SINKS_WITHIN);
    let mut ends = tokio::task::spawn_blocking(move || reader.ends_of_readings()).await??;
    loop {
        for next in trace::next_offsets(&mut *pool.acquire().await?).await? {
            let key = (next.topic, next.partition);
            if ends.get(&key).is_some_and(|end| next.next_offset >= *end) {
                ends.remove(&key);
            }
        }
        ends.retain(|_, end| *end > 0);
        if ends.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(ReplayError::Sinks { partitions: ends.len(), seconds: SINKS_WITHIN.as_secs() });
        }
        tokio::time::sleep(SINKS_POLL).await;
    }
}

impl Replay {
    /// Reads all ranges, several at the same time.
    async fn pass(self: &Arc<Self>, ranges: Vec<RawRange>, pass: Pass) -> Result<(), ReplayError> {
        self.progress.begin(&ranges);
        let slots = Arc::new(Semaphore::new(self.config.parallel.get()));
        let mut tasks = JoinSet::new();
        for range in ranges {
            let (replay, slots) = (Arc::clone(self), Arc::clone(&slots));
            tasks.spawn(async move {
                // The semaphore is never closed.
                let _slot = slots.acquire_owned().await;
                replay.range(range, pass).await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn range(self: &Arc<Self>, range: RawRange, pass: Pass) -> Result<(), ReplayError> {
        let (batches, mut receiver) = mpsc::channel(1);
        let replay = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || replay.read(&range, pass, &batches));
        let mut connection = self.pool.acquire().await?;
        let mut result = Ok(());
        let mut unfinished = Unfinished::default();
        while let Some(batch) = receiver.recv().await {
            result = match pass {
                Pass::Compare => self.compare(&mut connection, &range, batch, &mut unfinished).await,
                Pass::Find => {
                    self.find(&batch);
                    Ok(())
                }
            };
            if result.is_err() {
                break;
            }
        }
        // Reading ends when the receiver of its batches is dropped.
        drop(receiver);
        let read = reading.await?;
        result?;
        read
    }

    fn find(&self, batch: &[Mapped]) {
        let mut missing = self.missing();
        for reading in batch.iter().flat_map(|record| &record.readings) {
            missing.remove(&reading.reading_id);
        }
    }

    /// Removes the added readings that have been stored since: the outcome of a record may be stored before its last reading.
    async fn recheck_added(&self) -> Result<(), ReplayError> {
        let added = self.collector().added();
        let mut connection = self.pool.acquire().await?;
        for ids in added.chunks(BATCH_READINGS) {
            for stored in load(&mut connection, ids).await? {
                self.collector().arrived(&stored.reading);
            }
        }
        Ok(())
    }

    /// Reports the missing readings that no raw record of the provider yields, also outside the scope.
    async fn withdraw(self: &Arc<Self>) -> Result<(), ReplayError> {
        if self.missing().is_empty() {
            return Ok(());
        }
        let (reader, everything) = (self.log.clone(), Scope::of(self.config.scope.provider));
        let covered = tokio::task::spawn_blocking(move || reader.covered(&everything)).await??;
        self.pass(covered.into_iter().map(|covered| covered.range).collect(), Pass::Find).await?;
        let missing: Vec<Uuid> = self.missing().iter().copied().collect();
        let mut connection = self.pool.acquire().await?;
        for ids in missing.chunks(BATCH_READINGS) {
            for stored in load(&mut connection, ids).await? {
                if self.config.scope.has_reading(&stored.reading, &self.holdings) {
                    let receipt = self.receipt(&stored.reading);
                    self.collector().add(ChangeKind::Withdrawn, Vec::new(), &stored.reading, receipt);
                }
            }
        }
        Ok(())
    }
}
