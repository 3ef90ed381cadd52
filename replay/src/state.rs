//! What the tasks of a replay share.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use normalizer::NormalizerConfig;
use schemas::{
    event::Reading,
    receipt::{ItemPosition, ReceiptKey},
};
use sqlx::PgPool;
use store::replay::{Holding, RawRange};
use uuid::Uuid;

use crate::{diff::Collector, log::RawLog, scope::Scope};

/// The settings of a replay.
#[derive(Clone)]
pub struct ReplayConfig {
    /// What is compared.
    pub scope: Scope,
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
}

impl Progress {
    pub(super) fn begin(&self, ranges: &[RawRange]) {
        let total = ranges.iter().map(|range| u64::try_from(range.end - range.first).unwrap_or(0)).sum();
        self.read.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
}

/// What the tasks of a replay share.
pub(super) struct Replay {
    pub(super) config: ReplayConfig,
    pub(super) log: RawLog,
    pub(super) pool: PgPool,
    pub(super) holdings: Vec<Holding>,
    pub(super) collector: Mutex<Collector>,
    /// Stored readings that their raw record no longer yields.
    pub(super) missing: Mutex<BTreeSet<Uuid>>,
    pub(super) progress: Arc<Progress>,
    pub(super) started: Instant,
    /// The number of records that were read since then, in all passes.
    pub(super) read: AtomicU64,
}

/// What a pass over records is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Compares the records of the scope.
    Compare,
    /// Removes from the missing readings those that any record yields.
    Find,
}

impl Replay {
    pub(super) fn collector(&self) -> MutexGuard<'_, Collector> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn missing(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn position(&self, reading: &Reading) -> ItemPosition {
        let from = &reading.provenance;
        let item = if from.format.has_item_receipts(reading.provider) { from.item } else { 0 };
        ItemPosition {
            topic: reading.raw_topic(),
            topic_epoch: self.log.topic_epoch,
            partition: from.partition,
            offset: from.offset,
            item: u32::try_from(item).unwrap_or(0),
        }
    }

    pub(super) fn receipt(&self, reading: &Reading) -> String {
        self.config.receipt_key.issue(&self.position(reading))
    }
}
