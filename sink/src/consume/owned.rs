//! The partitions that the group has assigned to this sink, and the state of each.

use std::collections::BTreeMap;

use schemas::codec::Fingerprint;

use crate::{batch::Fence, decode::Unreadable, item::Partition};

/// The state of a partition.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Its next offset must be looked up.
    Unplaced,
    /// Its next offset is being looked up.
    Asked,
    /// It is being read.
    Reading(Span),
    /// The record at the end of the span cannot be decoded. The partition is not read further until that changes.
    Blocked(Span, Unreadable),
    /// Kafka does not have the record that is the next one according to Postgres. Contains the reason, and what to do.
    Adrift(String),
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
pub(super) struct Owned {
    partitions: BTreeMap<Partition, State>,
    /// Records that an operator has asked to skip, with the operator's reason.
    skips: BTreeMap<(Partition, i64), String>,
}

impl Owned {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Partition, &State)> {
        self.partitions.iter().map(|(place, state)| (*place, state))
    }

    pub(super) fn holds(&self, place: Partition) -> bool {
        self.partitions.contains_key(&place)
    }

    /// Adds a partition that the group has assigned.
    pub(super) fn give(&mut self, place: Partition) {
        self.partitions.entry(place).or_insert(State::Unplaced);
    }

    /// Removes a partition that the group has revoked.
    pub(super) fn take(&mut self, place: Partition) {
        self.partitions.remove(&place);
    }

    /// Makes all partitions begin again.
    pub(super) fn restart(&mut self) {
        self.partitions.values_mut().for_each(|state| *state = State::Unplaced);
        self.skips.clear();
    }

    /// The partitions whose next offset must be looked up.
    pub(super) fn unplaced(&self) -> impl Iterator<Item = Partition> {
        self.iter().filter_map(|(place, state)| match state {
            State::Unplaced | State::Adrift(_) => Some(place),
            State::Asked | State::Reading(_) | State::Blocked(..) => None,
        })
    }

    /// Records that the unplaced partitions are being looked up.
    pub(super) fn ask(&mut self) {
        self.turn(&State::Unplaced, &State::Asked);
    }

    /// Records that the lookup did not answer: these partitions must be looked up again.
    pub(super) fn ask_again(&mut self) {
        self.turn(&State::Asked, &State::Unplaced);
    }

    fn turn(&mut self, from: &State, to: &State) {
        self.partitions.values_mut().filter(|state| **state == *from).for_each(|state| *state = to.clone());
    }

    /// Whether the answer to a lookup applies to this partition. One that was revoked and assigned again meanwhile is looked up
    /// again.
    pub(super) fn is_asked(&self, place: Partition) -> bool {
        matches!(self.partitions.get(&place), Some(State::Asked | State::Adrift(_)))
    }

    /// Whether a partition waits because Kafka and Postgres disagree about it.
    pub(super) fn is_adrift(&self) -> bool {
        self.partitions.values().any(|state| matches!(state, State::Adrift(_)))
    }

    /// Sets where a partition begins, or why it cannot begin.
    pub(super) fn place(&mut self, place: Partition, begin: Result<i64, String>) {
        match self.partitions.get_mut(&place) {
            Some(state @ (State::Asked | State::Adrift(_))) => {
                *state = match begin {
                    Ok(next) => State::Reading(Span { sent: next, next }),
                    Err(why) => State::Adrift(why),
                };
            }
            Some(State::Unplaced | State::Reading(_) | State::Blocked(..)) | None => {}
        }
    }

    /// Whether a partition that is being read has records that were not sent to the writer, given the ends of the logs.
    pub(super) fn lags(&self, ends: &BTreeMap<Partition, i64>) -> bool {
        self.iter().any(|(place, state)| match state {
            State::Reading(span) => ends.get(&place).is_some_and(|end| *end > span.sent),
            State::Unplaced | State::Asked | State::Blocked(..) | State::Adrift(_) => false,
        })
    }

    /// The next offset of a partition that is being read.
    pub(super) fn next(&self, place: Partition) -> Option<i64> {
        match self.partitions.get(&place)? {
            State::Reading(span) => Some(span.next),
            State::Unplaced | State::Asked | State::Blocked(..) | State::Adrift(_) => None,
        }
    }

    /// Records that the partition was read up to `next`.
    pub(super) fn advance(&mut self, place: Partition, next: i64) {
        if let Some(State::Reading(span)) = self.partitions.get_mut(&place) {
            span.next = next;
        }
    }

    /// Blocks a partition, because its record at `offset` cannot be decoded.
    pub(super) fn block(&mut self, place: Partition, offset: i64, why: Unreadable) {
        if let Some(state) = self.partitions.get_mut(&place)
            && let State::Reading(span) = *state
        {
            *state = State::Blocked(Span { next: offset, ..span }, why);
        }
    }

    /// The blocked partitions, with the offset of the record and the missing schema, if the schema is what is missing.
    pub(super) fn blocked(&self) -> impl Iterator<Item = (Partition, i64, Option<Fingerprint>)> {
        self.iter().filter_map(|(place, state)| match state {
            State::Blocked(span, Unreadable::Schema(fingerprint)) => Some((place, span.next, Some(*fingerprint))),
            State::Blocked(span, Unreadable::Other(_)) => Some((place, span.next, None)),
            State::Unplaced | State::Asked | State::Reading(_) | State::Adrift(_) => None,
        })
    }

    /// Makes a blocked partition begin again, if all records before the blocked one were sent to the writer.
    pub(super) fn release(&mut self, place: Partition) {
        if let Some(state) = self.partitions.get_mut(&place)
            && let State::Blocked(span, _) = state
            && span.sent == span.next
        {
            *state = State::Unplaced;
        }
    }

    /// The operator's reason to skip the record, if there is one.
    pub(super) fn skip(&self, place: Partition, offset: i64) -> Option<&str> {
        self.skips.get(&(place, offset)).map(String::as_str)
    }

    /// Adds the records that operators have asked to skip.
    pub(super) fn know_skips(&mut self, skips: BTreeMap<(Partition, i64), String>) {
        self.skips.extend(skips);
    }

    /// Returns the offsets that the records read so far advance. From now on these records count as sent. Includes partitions
    /// that do not advance, so that a restored database is noticed.
    pub(super) fn hand_over(&mut self) -> Vec<Fence> {
        let fence = |(place, state): (&Partition, &mut State)| match state {
            State::Reading(span) | State::Blocked(span, _) => {
                let fence = Fence { place: *place, expected: span.sent, next: span.next };
                span.sent = span.next;
                Some(fence)
            }
            State::Unplaced | State::Asked | State::Adrift(_) => None,
        };
        self.partitions.iter_mut().filter_map(fence).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Owned, Unreadable};
    use crate::{
        batch::Fence,
        item::{EventTopic, Partition},
    };

    const ONE: Partition = (EventTopic::Readings, 0);
    const OTHER: Partition = (EventTopic::Outcomes, 1);

    /// Both partitions are being read, the first from offset 5, the second from offset 7.
    fn reading() -> Owned {
        let mut owned = Owned::default();
        for (place, next) in [(ONE, 5), (OTHER, 7)] {
            owned.give(place);
            assert!(owned.unplaced().any(|unplaced| unplaced == place) && owned.next(place).is_none());
            owned.ask();
            assert_eq!(owned.unplaced().count(), 0, "one lookup at a time");
            owned.place(place, Ok(next));
        }
        assert_eq!(owned.unplaced().count(), 0);
        owned
    }

    #[test]
    fn what_was_read_is_handed_over_once_and_where_nothing_was_the_offset_too() {
        let mut owned = reading();
        owned.advance(ONE, 9);
        let fence = |place, expected, next| Fence { place, expected, next };
        assert_eq!(owned.hand_over(), [fence(ONE, 5, 9), fence(OTHER, 7, 7)]);
        assert_eq!(owned.hand_over(), [fence(ONE, 9, 9), fence(OTHER, 7, 7)]);
        owned.take(OTHER);
        assert_eq!(owned.hand_over(), [fence(ONE, 9, 9)]);
    }

    #[test]
    fn a_blocked_one_begins_anew_only_when_all_before_its_record_is_handed_over() {
        let mut owned = reading();
        owned.advance(ONE, 6);
        owned.block(ONE, 6, Unreadable::Other(String::new()));
        assert_eq!(owned.next(ONE), None);
        assert_eq!(owned.blocked().collect::<Vec<_>>(), [(ONE, 6, None)]);
        owned.release(ONE);
        assert_eq!(owned.unplaced().count(), 0, "one of its items was not sent yet");
        assert!(owned.hand_over().contains(&Fence { place: ONE, expected: 5, next: 6 }));
        owned.release(ONE);
        assert_eq!(owned.unplaced().collect::<Vec<_>>(), [ONE]);
    }

    #[test]
    fn an_answer_that_comes_late_moves_nothing() {
        let mut owned = reading();
        owned.place(ONE, Ok(1));
        owned.place(OTHER, Err(String::new()));
        owned.place((EventTopic::Documents, 0), Ok(1));
        assert_eq!((owned.next(ONE), owned.next(OTHER), owned.iter().count()), (Some(5), Some(7), 2));
        owned.give(ONE);
        assert_eq!(owned.next(ONE), Some(5));
    }

    #[test]
    fn an_answer_is_for_those_that_were_asked() {
        let mut owned = Owned::default();
        owned.give(ONE);
        owned.ask();
        // The first partition was revoked and assigned again meanwhile; the second one is new.
        owned.take(ONE);
        owned.give(ONE);
        owned.give(OTHER);
        assert!(!owned.is_asked(ONE) && !owned.is_asked(OTHER));
        owned.place(ONE, Ok(1));
        assert_eq!((owned.next(ONE), owned.unplaced().count()), (None, 2));
        owned.ask();
        owned.ask_again();
        assert_eq!(owned.unplaced().count(), 2);
        owned.ask();
        owned.place(ONE, Err(String::new()));
        assert!(owned.is_adrift() && owned.is_asked(ONE), "an operator may resolve it");
    }

    #[test]
    fn only_what_is_read_and_not_handed_over_lags() {
        let mut owned = reading();
        let ends = |one, other| BTreeMap::from([(ONE, one), (OTHER, other)]);
        assert!(!owned.lags(&ends(5, 7)) && owned.lags(&ends(6, 7)));
        owned.block(OTHER, 7, Unreadable::Other(String::new()));
        assert!(!owned.lags(&ends(5, 9)), "a blocked partition waits for an operator");
        owned.advance(ONE, 6);
        assert!(owned.lags(&ends(6, 7)), "what was not sent is not written");
        owned.hand_over();
        assert!(!owned.lags(&ends(6, 7)));
    }
}
