//! Reconciliation: compares the raw records on Kafka with the outcomes, readings, duplicates and dead letters in Postgres, and finds
//! what is missing and what is stored more often than it was sent.
//!
//! What is on its way does not count as missing. The normalizers commit a record after Kafka has acknowledged all its events. So the
//! commits are read first, then the ends of the event topics, and the comparison begins when the sinks have come as far.

mod balance;
mod explain;
mod finding;
mod survey;
mod watch;

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use normalizer::NormalizerConfig;
use rdkafka::Message as _;
use schemas::receipt::{ItemPosition, ReceiptKey};
use sqlx::{Connection as _, PgConnection, PgPool};
use store::{
    reconcile::{self as stored, WithoutDocument},
    replay::RawRange,
};
use tokio::sync::mpsc;

pub use balance::Counts;
pub use finding::{EarlierEpoch, Finding, FindingKind, Reconciliation};
pub use survey::Extent;
pub use watch::{WatchConfig, watch};

use crate::{
    error::ReplayError,
    log::RawLog,
    parallel::for_each,
    run::{log_of, wait_for_sinks},
    state::Progress,
};
use balance::{AtOffset, Balance, Chunk, compare};
use survey::{Part, survey};

/// The number of offsets that are compared together.
pub(crate) const CHUNK_OFFSETS: i64 = 50_000;
/// The maximum number of raw records that are mapped again, to name the items that differ.
const EXPLAINED_MAX: u64 = 1_000;

/// The settings of a reconciliation.
#[derive(Clone)]
pub struct ReconcileConfig {
    /// What is compared.
    pub extent: Extent,
    /// The settings of the normalizers. Their group says how far they have come.
    pub normalizer: NormalizerConfig,
    /// The key of the receipts.
    pub receipt_key: ReceiptKey,
    /// The number of partitions that are read at the same time.
    pub parallel: NonZeroUsize,
}

/// What the tasks of a reconciliation share.
struct Reconcile {
    config: ReconcileConfig,
    log: RawLog,
    pool: PgPool,
    result: Mutex<Reconciliation>,
    progress: Arc<Progress>,
    /// The number of raw records that were mapped again.
    explained: AtomicU64,
}

/// Compares, and returns what is missing and what is stored more often than it was sent.
///
/// # Errors
/// [`ReplayError`].
pub async fn reconcile(
    config: ReconcileConfig,
    pool: PgPool,
    progress: Arc<Progress>,
) -> Result<Reconciliation, ReplayError> {
    let log = raw_log(&config.normalizer);
    let (reader, extent, group) = (log.clone(), config.extent.clone(), config.normalizer.group.clone());
    let mut parts = tokio::task::spawn_blocking(move || survey(&reader, &extent, &group)).await??;
    progress.wait_for_sinks(wait_for_sinks(&log, &pool)).await?;
    survey::complete(&mut parts, &pool).await?;
    let records = parts.iter().map(|part| part.range.end.abs_diff(part.range.first)).sum();
    progress.total.store(records, Ordering::Relaxed);
    let (result, explained) = (Mutex::default(), AtomicU64::new(0));
    let shared = Arc::new(Reconcile { config, log, pool, result, progress, explained });
    shared.outside(&parts).await?;
    for_each(shared.config.parallel, parts, |part| {
        let shared = Arc::clone(&shared);
        async move { shared.part(part).await }
    })
    .await?;
    let mut result = std::mem::take(&mut *shared.result());
    result.balanced = result.found.is_empty();
    result.findings.sort_by_key(|found| (found.topic, found.partition, found.first_offset, found.item));
    Ok(result)
}

/// Consumers that join no group still require the id of one.
fn raw_log(normalizer: &NormalizerConfig) -> RawLog {
    RawLog { group: "device-manager-reconcile".to_owned(), ..log_of(normalizer) }
}

/// Compares a chunk with what Postgres contains at one moment.
async fn balance(connection: &mut PgConnection, range: &RawRange, chunk: &Chunk) -> Result<Balance, sqlx::Error> {
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let runs = stored::runs(&mut snapshot, range).await?;
    let records = stored::records(&mut snapshot, range).await?;
    // Documents are on a topic of their own, so that they may arrive after the readings that refer to them.
    let mut without_document = stored::without_document(&mut snapshot, range).await?;
    without_document.retain(|reading| reading.offset < chunk.finished.handled);
    snapshot.rollback().await?;
    Ok(Balance { without_document, ..compare(chunk, &runs, &records) })
}

impl Reconcile {
    fn result(&self) -> std::sync::MutexGuard<'_, Reconciliation> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares a part of a partition, chunk by chunk.
    async fn part(self: &Arc<Self>, part: Part) -> Result<(), ReplayError> {
        let (chunks, mut receiver) = mpsc::channel(1);
        let shared = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || shared.read(&part, &chunks));
        let mut connection = self.pool.acquire().await?;
        let mut result = self.deleted(&mut connection, &part).await;
        while let Some(chunk) = receiver.recv().await {
            if result.is_ok() {
                result = self.chunk(&mut connection, &part, chunk).await;
            }
            if result.is_err() {
                break;
            }
        }
        // Reading ends when the receiver of its chunks is dropped.
        drop(receiver);
        let read = reading.await?;
        result?;
        read
    }

    /// Reads which offsets have records. Blocks.
    fn read(&self, part: &Part, chunks: &mpsc::Sender<Chunk>) -> Result<(), ReplayError> {
        let (range, finished) = (part.range, part.finished.unwrap_or_default());
        let empty = |first: i64| {
            let length = usize::try_from(CHUNK_OFFSETS.min(range.end - first)).unwrap_or(0);
            Chunk { topic: range.topic, first, offsets: vec![AtOffset::Nothing; length], finished }
        };
        let mut chunk = empty(range.first);
        let pass_on = |until: i64, chunk: &mut Chunk| {
            while until >= chunk.end() && chunk.first < range.end {
                let next = empty(chunk.end());
                if chunks.blocking_send(std::mem::replace(chunk, next)).is_err() {
                    return false;
                }
            }
            true
        };
        let (mut rest, mut goes_on) = (range, true);
        while let Some(gone) = self.log.visit_until_gone(&rest, |message| {
            self.progress.read.fetch_add(1, Ordering::Relaxed);
            let at = if message.payload().is_some() { AtOffset::Record } else { AtOffset::NoValue };
            goes_on = pass_on(message.offset(), &mut chunk);
            chunk.set(message.offset(), at);
            Ok(goes_on)
        })? {
            rest.first = gone.end;
            for offset in gone {
                if !pass_on(offset, &mut chunk) {
                    return Ok(());
                }
                chunk.set(offset, AtOffset::Deleted);
            }
        }
        if goes_on {
            pass_on(range.end, &mut chunk);
        }
        Ok(())
    }

    /// Compares a chunk. What does not balance is compared once more, after the sinks have written the events that a replay or a second
    /// normalizer has produced since.
    async fn chunk(
        self: &Arc<Self>,
        connection: &mut PgConnection,
        part: &Part,
        chunk: Chunk,
    ) -> Result<(), ReplayError> {
        let range = RawRange { first: chunk.first, end: chunk.end(), ..part.range };
        let mut balance = balance(connection, &range, &chunk).await?;
        if !balance.is_even() {
            self.progress.wait_for_sinks(wait_for_sinks(&self.log, &self.pool)).await?;
            balance = self::balance(connection, &range, &chunk).await?;
        }
        self.result().topics.entry(range.topic.as_str()).or_default().add(&balance.counts);
        for (kind, ranges, stored_in) in [
            (FindingKind::MissingOutcome, &balance.without_outcome, None),
            (FindingKind::DeletedUnread, &balance.deleted_unread, None),
            (FindingKind::NoRawRecord, &balance.outcomes_without_record, Some("outcomes")),
            (FindingKind::NoRawRecord, &balance.rows_without_record, Some("rows")),
        ] {
            for offsets in ranges {
                let found = self.found(kind, &RawRange { first: offsets.start, end: offsets.end, ..range });
                self.add(Finding { stored_in: stored_in.map(ToOwned::to_owned), ..found });
            }
        }
        for WithoutDocument { offset, item, reading_id } in balance.without_document {
            let found = self.found(FindingKind::MissingDocument, &RawRange { first: offset, end: offset + 1, ..range });
            self.add(Finding { item: Some(item), reading_id: Some(reading_id), ..found });
        }
        for record in &balance.unbalanced {
            let is_mapped = self.explained.fetch_add(1, Ordering::Relaxed) < EXPLAINED_MAX;
            self.explain(connection, &range, record, is_mapped).await?;
        }
        Ok(())
    }

    /// Counts the records at the start of the log that no longer exist, and finds those without an outcome.
    async fn deleted(&self, connection: &mut PgConnection, part: &Part) -> Result<(), ReplayError> {
        let gone = RawRange { first: part.deleted_from, end: part.range.first, ..part.range };
        if gone.first >= gone.end {
            return Ok(());
        }
        let counts = Counts { deleted: gone.end.abs_diff(gone.first), ..Counts::default() };
        self.result().topics.entry(gone.topic.as_str()).or_default().add(&counts);
        let mut next = gone.first;
        let mut unread = Vec::new();
        for run in stored::runs(connection, &gone).await? {
            unread.push(next..run.first.min(gone.end));
            next = run.last + 1;
        }
        unread.push(next..gone.end);
        for offsets in unread.into_iter().filter(|offsets| !offsets.is_empty()) {
            let range = RawRange { first: offsets.start, end: offsets.end, ..gone };
            self.add(self.found(FindingKind::DeletedUnread, &range));
        }
        Ok(())
    }

    /// Finds rows whose raw records are behind the end of a partition or in a partition that does not exist, and counts the outcomes of
    /// other topic epochs.
    async fn outside(&self, parts: &[Part]) -> Result<(), ReplayError> {
        let mut connection = self.pool.acquire().await?;
        for topic in &self.config.extent.topics {
            let own: Vec<&Part> = parts.iter().filter(|part| part.range.topic == *topic).collect();
            let partitions = own.iter().map(|part| part.range.partition + 1).max().unwrap_or(0);
            let mut ranges: Vec<RawRange> = own.iter().filter(|part| part.is_to_end).map(|part| part.range).collect();
            if self.config.extent.partition.is_none() {
                let key = (*topic, self.log.topic_epoch);
                let others = stored::other_partitions(&mut connection, key, partitions).await?;
                ranges.extend(others.into_iter().map(|partition| RawRange {
                    topic: *topic,
                    topic_epoch: self.log.topic_epoch,
                    partition,
                    first: 0,
                    end: 0,
                }));
                let epochs = stored::other_epochs(&mut connection, key).await?;
                self.result().other_epochs.extend(epochs.into_iter().map(|other| EarlierEpoch {
                    topic: topic.as_str(),
                    topic_epoch: other.topic_epoch,
                    records: other.records,
                }));
            }
            for range in ranges {
                self.outside_of(&mut connection, &range, partitions).await?;
            }
        }
        Ok(())
    }

    async fn outside_of(
        &self,
        connection: &mut PgConnection,
        range: &RawRange,
        partitions: i32,
    ) -> Result<(), ReplayError> {
        let rows = stored::outside(connection, range).await?;
        if rows.is_empty() {
            return Ok(());
        }
        // Records that were appended meanwhile have rows already.
        let (log, part) = (self.log.clone(), *range);
        let end = if range.partition < partitions {
            tokio::task::spawn_blocking(move || survey::bounds(&log, &part)).await??.end
        } else {
            0
        };
        for row in stored::outside(connection, &RawRange { end, ..*range }).await? {
            let found =
                self.found(FindingKind::NoRawRecord, &RawRange { first: row.first, end: row.last + 1, ..*range });
            self.add(Finding { count: row.rows.unsigned_abs(), stored_in: Some(row.stored_in), ..found });
        }
        Ok(())
    }

    /// A finding about a range of raw records.
    fn found(&self, kind: FindingKind, range: &RawRange) -> Finding {
        Finding {
            kind,
            topic: range.topic.as_str(),
            partition: range.partition,
            first_offset: range.first,
            last_offset: range.end - 1,
            receipt: self.receipt(range, 0),
            item: None,
            reading_id: None,
            count: range.end.abs_diff(range.first),
            stored_in: None,
        }
    }

    fn receipt(&self, range: &RawRange, item: u32) -> String {
        let RawRange { topic, topic_epoch, partition, first: offset, .. } = *range;
        self.config.receipt_key.issue(&ItemPosition { topic, topic_epoch, partition, offset, item })
    }

    fn add(&self, finding: Finding) {
        let mut result = self.result();
        *result.found.entry(finding.kind).or_default() += finding.count;
        if result.findings.len() < Reconciliation::LISTED_MAX {
            result.findings.push(finding);
        }
    }
}
