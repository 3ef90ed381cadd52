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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use schemas::{event::Outcome, format::RawTopic};

    use super::{Batch, BatchLimits, InFlight, Item, Partition, Pending};
    use crate::{
        batch::Fence,
        item::{Body, EventTopic, Origin},
    };

    const FIRST: Partition = Partition { topic: EventTopic::Outcomes, number: 0 };
    const SECOND: Partition = Partition { topic: EventTopic::Outcomes, number: 1 };
    const HOUR: Duration = Duration::from_hours(1);
    const LIMITS: BatchLimits = BatchLimits { messages: 3, bytes: 100, age: HOUR };

    fn item(partition: Partition) -> Item {
        let outcome = Outcome {
            topic: RawTopic::Medisante,
            topic_epoch: 0,
            partition: 0,
            offset: 0,
            items: 0,
            readings: 0,
            commands: 0,
            rejections: 0,
            mapping_version: 1,
            received_at: 0,
            unknown: Vec::new(),
            catalogue_revision: 0,
            replay: None,
        };
        Item { origin: Origin { partition, offset: 0, timestamp: 0 }, body: Body::Outcome(outcome) }
    }

    fn pending(items: &[(Partition, usize)]) -> Pending {
        let mut pending = Pending::default();
        for (partition, bytes) in items {
            pending.push(item(*partition), *bytes);
        }
        pending
    }

    #[test]
    fn a_batch_is_full_at_its_limit_of_messages_or_of_bytes() {
        let is_full = |items: &[(Partition, usize)]| {
            let pending = pending(items);
            assert_eq!((pending.len(), pending.is_due(&LIMITS)), (items.len(), pending.is_full(&LIMITS)));
            pending.is_full(&LIMITS)
        };
        assert!(!is_full(&[]) && !is_full(&[(FIRST, 10), (FIRST, 10)]) && !is_full(&[(FIRST, 50), (FIRST, 49)]));
        assert!(is_full(&[(FIRST, 10); 3]) && is_full(&[(FIRST, 50), (FIRST, 50)]) && is_full(&[(FIRST, 101)]));
    }

    #[test]
    fn a_batch_is_due_at_its_age_unless_it_is_empty() {
        let limits = BatchLimits { age: Duration::ZERO, ..LIMITS };
        assert!(!Pending::default().is_due(&limits) && Pending::default().time_left(&limits).is_none());
        let mut one = pending(&[(FIRST, 10)]);
        assert!(one.is_due(&limits) && !one.is_full(&limits));
        assert_eq!(one.time_left(&limits), Some(Duration::ZERO));
        assert!(one.time_left(&LIMITS).is_some_and(|left| left > HOUR / 2));
        assert_eq!((one.drain().len(), one.len()), (1, 0));
        assert!(!one.is_due(&limits));
    }

    #[test]
    fn a_revoked_partition_leaves_the_items_of_others() {
        let limits = BatchLimits { age: Duration::ZERO, ..LIMITS };
        let mut both = pending(&[(FIRST, 20), (SECOND, 20), (SECOND, 20)]);
        both.drop_partition(FIRST);
        assert_eq!((both.len(), both.is_due(&limits)), (2, true));
        both.drop_partition(SECOND);
        assert!(both.len() == 0 && !both.is_due(&limits), "an empty batch has neither bytes nor an age");
    }

    #[test]
    fn a_partition_is_in_flight_until_the_writer_has_reported_on_its_batch() {
        let fence = |partition| Fence { partition, expected: 0, next: 1 };
        let mut in_flight = InFlight::new();
        assert!(in_flight.is_empty() && !in_flight.contains(FIRST) && in_flight.busy().is_zero());
        in_flight.push(&Batch::new(0, Vec::new(), vec![fence(FIRST)]));
        in_flight.age(HOUR);
        in_flight.push(&Batch::new(0, Vec::new(), vec![fence(SECOND)]));
        assert!(in_flight.contains(FIRST) && in_flight.contains(SECOND));
        assert!(in_flight.busy() >= HOUR, "the writer is busy with the oldest");
        in_flight.pop();
        assert!(!in_flight.contains(FIRST) && in_flight.contains(SECOND) && !in_flight.is_empty());
        assert!(in_flight.busy() < HOUR);
        in_flight.pop();
        assert!(in_flight.is_empty());
    }
}
