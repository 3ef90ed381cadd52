//! The batch that is being filled, and the batches that the writer has.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    batch::{Batch, BatchLimits},
    item::{Item, Partition},
};

/// The items of the next batch.
#[derive(Default)]
pub(super) struct Pending {
    items: Vec<Item>,
    bytes: usize,
    started_at: Option<Instant>,
}

impl Pending {
    pub(super) fn push(&mut self, item: Item, bytes: usize) {
        self.items.push(item);
        self.bytes += bytes;
        self.started_at.get_or_insert_with(Instant::now);
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn drain(&mut self) -> Vec<Item> {
        std::mem::take(self).items
    }

    pub(super) fn drop_partition(&mut self, partition: Partition) {
        self.items.retain(|item| item.origin.partition != partition);
        if self.items.is_empty() {
            *self = Self::default();
        }
    }

    pub(super) fn is_full(&self, limits: &BatchLimits) -> bool {
        self.items.len() >= limits.messages || self.bytes >= limits.bytes
    }

    pub(super) fn is_due(&self, limits: &BatchLimits) -> bool {
        self.is_full(limits) || self.started_at.is_some_and(|started_at| started_at.elapsed() >= limits.age)
    }

    /// The time until the batch is due because of its age; `None` if it is empty.
    pub(super) fn time_left(&self, limits: &BatchLimits) -> Option<Duration> {
        self.started_at.map(|started_at| limits.age.saturating_sub(started_at.elapsed()))
    }
}

/// Batches that were sent to the writer and that it has not reported on, the oldest first.
pub(super) struct InFlight {
    batches: VecDeque<Vec<Partition>>,
    /// When the oldest batch became the oldest.
    since: Instant,
}

impl InFlight {
    pub(super) fn new() -> Self {
        Self { batches: VecDeque::new(), since: Instant::now() }
    }

    pub(super) fn push(&mut self, batch: &Batch) {
        if self.batches.is_empty() {
            self.since = Instant::now();
        }
        self.batches.push_back(batch.fence.iter().map(|fence| fence.partition).collect());
    }

    /// Removes the oldest batch, which the writer has reported on.
    pub(super) fn pop(&mut self) {
        self.batches.pop_front();
        self.since = Instant::now();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn contains(&self, partition: Partition) -> bool {
        self.batches.iter().any(|partitions| partitions.contains(&partition))
    }

    /// How long the writer has been busy with the oldest batch.
    pub(super) fn busy(&self) -> Duration {
        if self.batches.is_empty() { Duration::ZERO } else { self.since.elapsed() }
    }

    /// Pretends that the writer has been busy for longer.
    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        self.since = self.since.checked_sub(by).unwrap();
    }
}
