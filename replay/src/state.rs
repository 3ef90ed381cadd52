//! What the tasks of a replay share.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use normalizer::NormalizerConfig;
use schemas::{
    event::Reading,
    receipt::{ItemPosition, RawPosition, ReceiptKey},
};
use sqlx::PgPool;
use store::replay::{Holding, JobRange};
use uuid::Uuid;

use crate::{examples::Examples, log::RawLog, scope::Scope};

/// The settings of a replay.
#[derive(Clone)]
pub struct ReplayConfig {
    /// The settings with which records are mapped. The group is used by consumers that join no group.
    pub normalizer: NormalizerConfig,
    /// The key of the receipts.
    pub receipt_key: ReceiptKey,
    /// The number of partitions that are read at the same time.
    pub parallel: NonZeroUsize,
    /// The maximum number of raw records per second, so that live traffic keeps its latency; `None` is without limit.
    pub records_per_second: Option<u32>,
}

/// How far a replay is. It is updated while the replay runs.
#[derive(Default)]
pub struct Progress {
    /// The number of records to read, of the current pass.
    pub total: AtomicU64,
    /// The number of records that were read, of the current pass.
    pub read: AtomicU64,
    /// Whether it waits until the sinks have written the events that are on their topics.
    pub waits_for_sinks: AtomicBool,
}

impl Progress {
    /// Notes that `work` waits for the sinks, until it ends.
    pub(super) async fn wait_for_sinks<T>(&self, work: impl Future<Output = T>) -> T {
        self.waits_for_sinks.store(true, Ordering::Relaxed);
        let ended = work.await;
        self.waits_for_sinks.store(false, Ordering::Relaxed);
        ended
    }

    pub(super) fn begin(&self, ranges: &[JobRange]) {
        let sum =
            |count: fn(&JobRange) -> i64| ranges.iter().map(|range| u64::try_from(count(range)).unwrap_or(0)).sum();
        self.read.store(sum(|part| part.next - part.range.first), Ordering::Relaxed);
        self.total.store(sum(|part| part.range.end - part.range.first), Ordering::Relaxed);
    }
}

/// What the tasks of a replay share.
pub(super) struct Replay {
    pub(super) id: i32,
    pub(super) config: ReplayConfig,
    pub(super) scope: Scope,
    pub(super) log: RawLog,
    pub(super) pool: PgPool,
    pub(super) holdings: Vec<Holding>,
    /// The stored readings that their raw record no longer yields; known in the pass that finds other records which do.
    pub(super) missing: BTreeSet<Uuid>,
    pub(super) progress: Arc<Progress>,
    pub(super) examples: Option<Mutex<Examples>>,
    pub(super) started: Instant,
    /// The number of records that were read since then.
    pub(super) read: AtomicU64,
}

/// Returns the receipt of the item of a raw record from which a reading was made.
pub(super) fn receipt_of(reading: &Reading, key: &ReceiptKey) -> String {
    let from = &reading.provenance;
    let raw = RawPosition {
        topic: reading.raw_topic(),
        topic_epoch: from.topic_epoch,
        partition: from.partition,
        offset: from.offset,
    };
    let item = if from.format.has_item_receipts(reading.provider) { from.item } else { 0 };
    receipt_at(raw, item, key)
}

/// Returns the receipt of an item of a raw record.
pub(super) fn receipt_at(raw: RawPosition, item: i32, key: &ReceiptKey) -> String {
    key.issue(&ItemPosition {
        topic: raw.topic,
        topic_epoch: u16::try_from(raw.topic_epoch).unwrap_or(0),
        partition: raw.partition,
        offset: raw.offset,
        item: u32::try_from(item).unwrap_or(0),
    })
}
