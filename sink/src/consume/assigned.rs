//! The partitions that the group has assigned to this sink, and the state of each.

use std::collections::BTreeMap;

use schemas::codec::Fingerprint;

use crate::{batch::Fence, decode::Unreadable, item::Partition};

/// The state of a partition.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum PartitionState {
    /// Its next offset must be looked up.
    OffsetUnknown,
    /// Its next offset is being looked up.
    OffsetRequested,
    /// It is being read.
    Reading(Span),
    /// The record at the end of the span cannot be decoded. The partition is not read further until that changes.
    Blocked(Span, Unreadable),
    /// Kafka does not have the record that is the next one according to Postgres. Contains the reason, and what to do.
    OffsetNotInLog(String),
}

/// The records that were read and not yet sent to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The next offset in Postgres after the last batch that was sent.
    pub(super) sent: i64,
    /// The offset that is read next.
    pub(super) next: i64,
}

/// All partitions of this sink.
#[derive(Default)]
pub(super) struct AssignedPartitions {
    partitions: BTreeMap<Partition, PartitionState>,
    /// Records that an operator has asked to skip, with the operator's reason.
    skips: BTreeMap<(Partition, i64), String>,
}

impl AssignedPartitions {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Partition, &PartitionState)> {
        self.partitions.iter().map(|(partition, state)| (*partition, state))
    }

    pub(super) fn contains(&self, partition: Partition) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// Adds a partition that the group has assigned.
    pub(super) fn assign(&mut self, partition: Partition) {
        self.partitions.entry(partition).or_insert(PartitionState::OffsetUnknown);
    }

    /// Removes a partition that the group has revoked.
    pub(super) fn revoke(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
    }

    /// Makes all partitions begin again.
    pub(super) fn restart(&mut self) {
        self.partitions.values_mut().for_each(|state| *state = PartitionState::OffsetUnknown);
        self.skips.clear();
    }

    /// The partitions whose next offset must be looked up.
    pub(super) fn awaiting_offset(&self) -> impl Iterator<Item = Partition> {
        self.iter().filter_map(|(partition, state)| match state {
            PartitionState::OffsetUnknown | PartitionState::OffsetNotInLog(_) => Some(partition),
            PartitionState::OffsetRequested | PartitionState::Reading(_) | PartitionState::Blocked(..) => None,
        })
    }

    /// Records that the offsets of the partitions without one are being looked up.
    pub(super) fn mark_requested(&mut self) {
        self.replace_state(&PartitionState::OffsetUnknown, &PartitionState::OffsetRequested);
    }

    /// Records that the lookup did not answer: these partitions must be looked up again.
    pub(super) fn reset_requested(&mut self) {
        self.replace_state(&PartitionState::OffsetRequested, &PartitionState::OffsetUnknown);
    }

    fn replace_state(&mut self, from: &PartitionState, to: &PartitionState) {
        self.partitions.values_mut().filter(|state| **state == *from).for_each(|state| *state = to.clone());
    }

    /// Whether the answer to a lookup applies to this partition. One that was revoked and assigned again meanwhile is looked up
    /// again.
    pub(super) fn accepts_offset(&self, partition: Partition) -> bool {
        matches!(
            self.partitions.get(&partition),
            Some(PartitionState::OffsetRequested | PartitionState::OffsetNotInLog(_))
        )
    }

    /// Whether a partition waits because Kafka and Postgres disagree about it.
    pub(super) fn has_offset_not_in_log(&self) -> bool {
        self.partitions.values().any(|state| matches!(state, PartitionState::OffsetNotInLog(_)))
    }

    /// Sets where a partition begins, or why it cannot begin.
    pub(super) fn set_begin(&mut self, partition: Partition, begin: Result<i64, String>) {
        match self.partitions.get_mut(&partition) {
            Some(state @ (PartitionState::OffsetRequested | PartitionState::OffsetNotInLog(_))) => {
                *state = match begin {
                    Ok(next) => PartitionState::Reading(Span { sent: next, next }),
                    Err(why) => PartitionState::OffsetNotInLog(why),
                };
            }
            Some(PartitionState::OffsetUnknown | PartitionState::Reading(_) | PartitionState::Blocked(..)) | None => {}
        }
    }

    /// Whether a partition that is being read has records that were not sent to the writer, given the ends of the logs.
    pub(super) fn has_lag(&self, ends: &BTreeMap<Partition, i64>) -> bool {
        self.iter().any(|(partition, state)| match state {
            PartitionState::Reading(span) => ends.get(&partition).is_some_and(|end| *end > span.sent),
            PartitionState::OffsetUnknown
            | PartitionState::OffsetRequested
            | PartitionState::Blocked(..)
            | PartitionState::OffsetNotInLog(_) => false,
        })
    }

    /// The next offset of a partition that is being read.
    pub(super) fn next_offset(&self, partition: Partition) -> Option<i64> {
        match self.partitions.get(&partition)? {
            PartitionState::Reading(span) => Some(span.next),
            PartitionState::OffsetUnknown
            | PartitionState::OffsetRequested
            | PartitionState::Blocked(..)
            | PartitionState::OffsetNotInLog(_) => None,
        }
    }

    /// Records that the partition was read up to `next`.
    pub(super) fn advance(&mut self, partition: Partition, next: i64) {
        if let Some(PartitionState::Reading(span)) = self.partitions.get_mut(&partition) {
            span.next = next;
        }
    }

    /// Blocks a partition, because its record at `offset` cannot be decoded.
    pub(super) fn block(&mut self, partition: Partition, offset: i64, why: Unreadable) {
        if let Some(state) = self.partitions.get_mut(&partition)
            && let PartitionState::Reading(span) = *state
        {
            *state = PartitionState::Blocked(Span { next: offset, ..span }, why);
        }
    }

    /// The blocked partitions, with the offset of the record and the missing schema, if the schema is what is missing.
    pub(super) fn blocked(&self) -> impl Iterator<Item = (Partition, i64, Option<Fingerprint>)> {
        self.iter().filter_map(|(partition, state)| match state {
            PartitionState::Blocked(span, Unreadable::Schema(fingerprint)) => {
                Some((partition, span.next, Some(*fingerprint)))
            }
            PartitionState::Blocked(span, Unreadable::Other(_)) => Some((partition, span.next, None)),
            PartitionState::OffsetUnknown
            | PartitionState::OffsetRequested
            | PartitionState::Reading(_)
            | PartitionState::OffsetNotInLog(_) => None,
        })
    }

    /// Makes a blocked partition begin again, if all records before the blocked one were sent to the writer.
    pub(super) fn unblock(&mut self, partition: Partition) {
        if let Some(state) = self.partitions.get_mut(&partition)
            && let PartitionState::Blocked(span, _) = state
            && span.sent == span.next
        {
            *state = PartitionState::OffsetUnknown;
        }
    }

    /// The operator's reason to skip the record, if there is one.
    pub(super) fn skip_reason(&self, partition: Partition, offset: i64) -> Option<&str> {
        self.skips.get(&(partition, offset)).map(String::as_str)
    }

    /// Adds the records that operators have asked to skip.
    pub(super) fn add_skips(&mut self, skips: BTreeMap<(Partition, i64), String>) {
        self.skips.extend(skips);
    }

    /// Returns the offsets that the records read so far advance. From now on these records count as sent. Includes partitions
    /// that do not advance, so that a restored database is noticed.
    pub(super) fn take_fence(&mut self) -> Vec<Fence> {
        let fence = |(partition, state): (&Partition, &mut PartitionState)| match state {
            PartitionState::Reading(span) | PartitionState::Blocked(span, _) => {
                let fence = Fence { partition: *partition, expected: span.sent, next: span.next };
                span.sent = span.next;
                Some(fence)
            }
            PartitionState::OffsetUnknown | PartitionState::OffsetRequested | PartitionState::OffsetNotInLog(_) => None,
        };
        self.partitions.iter_mut().filter_map(fence).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{AssignedPartitions, Unreadable};
    use crate::{
        batch::Fence,
        item::{EventTopic, Partition},
    };

    const FIRST: Partition = Partition { topic: EventTopic::Readings, number: 0 };
    const SECOND: Partition = Partition { topic: EventTopic::Outcomes, number: 1 };

    /// Both partitions are being read, the first from offset 5, the second from offset 7.
    fn reading() -> AssignedPartitions {
        let mut assigned = AssignedPartitions::default();
        for (partition, next) in [(FIRST, 5), (SECOND, 7)] {
            assigned.assign(partition);
            assert!(
                assigned.awaiting_offset().any(|awaiting| awaiting == partition)
                    && assigned.next_offset(partition).is_none()
            );
            assigned.mark_requested();
            assert_eq!(assigned.awaiting_offset().count(), 0, "one lookup at a time");
            assigned.set_begin(partition, Ok(next));
        }
        assert_eq!(assigned.awaiting_offset().count(), 0);
        assigned
    }

    #[test]
    fn a_fence_covers_every_partition_and_each_advance_once() {
        let mut assigned = reading();
        assigned.advance(FIRST, 9);
        let fence = |partition, expected, next| Fence { partition, expected, next };
        assert_eq!(assigned.take_fence(), [fence(FIRST, 5, 9), fence(SECOND, 7, 7)]);
        assert_eq!(assigned.take_fence(), [fence(FIRST, 9, 9), fence(SECOND, 7, 7)]);
        assert!(assigned.contains(SECOND));
        assigned.revoke(SECOND);
        assert!(assigned.contains(FIRST) && !assigned.contains(SECOND));
        assert_eq!(assigned.take_fence(), [fence(FIRST, 9, 9)]);
    }

    #[test]
    fn a_blocked_partition_resumes_only_after_all_earlier_items_are_sent() {
        let mut assigned = reading();
        assigned.advance(FIRST, 6);
        // Kafka has no record 6 and 7.
        assigned.block(FIRST, 8, Unreadable::Other(String::new()));
        assert_eq!(assigned.next_offset(FIRST), None);
        assert_eq!(assigned.blocked().collect::<Vec<_>>(), [(FIRST, 8, None)]);
        assigned.unblock(FIRST);
        assert_eq!(assigned.awaiting_offset().count(), 0, "one of its items was not sent yet");
        assert!(assigned.take_fence().contains(&Fence { partition: FIRST, expected: 5, next: 8 }));
        assigned.unblock(FIRST);
        assert_eq!(assigned.awaiting_offset().collect::<Vec<_>>(), [FIRST]);
    }

    #[test]
    fn a_late_offset_response_changes_no_position() {
        let mut assigned = reading();
        assigned.set_begin(FIRST, Ok(1));
        assigned.set_begin(SECOND, Err(String::new()));
        assigned.set_begin(Partition { topic: EventTopic::Documents, number: 0 }, Ok(1));
        assert_eq!(
            (assigned.next_offset(FIRST), assigned.next_offset(SECOND), assigned.iter().count()),
            (Some(5), Some(7), 2)
        );
        assigned.assign(FIRST);
        assert_eq!(assigned.next_offset(FIRST), Some(5));
    }

    #[test]
    fn an_offset_response_applies_only_to_the_requested_partitions() {
        let mut assigned = AssignedPartitions::default();
        assigned.assign(FIRST);
        assigned.mark_requested();
        // The first partition was revoked and assigned again meanwhile; the second one is new.
        assigned.revoke(FIRST);
        assigned.assign(FIRST);
        assigned.assign(SECOND);
        assert!(!assigned.accepts_offset(FIRST) && !assigned.accepts_offset(SECOND));
        assigned.set_begin(FIRST, Ok(1));
        assert_eq!((assigned.next_offset(FIRST), assigned.awaiting_offset().count()), (None, 2));
        assigned.mark_requested();
        assigned.reset_requested();
        assert_eq!(assigned.awaiting_offset().count(), 2);
        assigned.mark_requested();
        assigned.set_begin(FIRST, Err(String::new()));
        assert!(assigned.has_offset_not_in_log() && assigned.accepts_offset(FIRST), "an operator may resolve it");
    }

    #[test]
    fn a_partition_lags_until_all_its_records_are_sent_unless_it_is_blocked() {
        let mut assigned = reading();
        let ends = |first, second| BTreeMap::from([(FIRST, first), (SECOND, second)]);
        assert!(!assigned.has_lag(&ends(5, 7)) && assigned.has_lag(&ends(6, 7)));
        assigned.block(SECOND, 7, Unreadable::Other(String::new()));
        assert!(!assigned.has_lag(&ends(5, 9)), "a blocked partition waits for an operator");
        assigned.advance(FIRST, 6);
        assert!(assigned.has_lag(&ends(6, 7)), "what was not sent is not written");
        assigned.take_fence();
        assert!(!assigned.has_lag(&ends(6, 7)));
    }
}
