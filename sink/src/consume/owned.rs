//! The partitions that the group gave to this sink, and where each stands.

use std::collections::BTreeMap;

use schemas::codec::Fingerprint;

use crate::{batch::Fence, decode::Unreadable, item::Partition};

/// Where a partition stands.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Where to begin is to be asked.
    Unplaced,
    /// Where to begin is being asked.
    Asked,
    /// It is read.
    Reading(Span),
    /// The record at the span's end cannot be read: the partition is not read on before that changes.
    Blocked(Span, Unreadable),
    /// Kafka does not have the record that Postgres says is the next; why, and what to do.
    Adrift(String),
}

/// What was read and not handed over yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// What the last batch leaves in Postgres.
    pub(super) sent: i64,
    /// What is read next.
    pub(super) next: i64,
}

/// All partitions of this sink.
#[derive(Default)]
pub(super) struct Owned {
    partitions: BTreeMap<Partition, State>,
    /// Records that an operator wants to be stepped over, with his reason.
    skips: BTreeMap<(Partition, i64), String>,
}

impl Owned {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Partition, &State)> {
        self.partitions.iter().map(|(place, state)| (*place, state))
    }

    pub(super) fn holds(&self, place: Partition) -> bool {
        self.partitions.contains_key(&place)
    }

    /// The group gave it.
    pub(super) fn give(&mut self, place: Partition) {
        self.partitions.entry(place).or_insert(State::Unplaced);
    }

    /// The group took it.
    pub(super) fn take(&mut self, place: Partition) {
        self.partitions.remove(&place);
    }

    /// All are to begin anew.
    pub(super) fn restart(&mut self) {
        self.partitions.values_mut().for_each(|state| *state = State::Unplaced);
        self.skips.clear();
    }

    /// Those whose beginning is to be asked.
    pub(super) fn unplaced(&self) -> impl Iterator<Item = Partition> {
        self.iter().filter_map(|(place, state)| match state {
            State::Unplaced | State::Adrift(_) => Some(place),
            State::Asked | State::Reading(_) | State::Blocked(..) => None,
        })
    }

    /// All that are to be asked are being asked.
    pub(super) fn ask(&mut self) {
        self.turn(&State::Unplaced, &State::Asked);
    }

    /// The question came to nothing: they are to be asked again.
    pub(super) fn ask_again(&mut self) {
        self.turn(&State::Asked, &State::Unplaced);
    }

    fn turn(&mut self, from: &State, to: &State) {
        self.partitions.values_mut().filter(|state| **state == *from).for_each(|state| *state = to.clone());
    }

    /// Whether an answer about the beginning is for this one: one that was given back and given anew is asked anew.
    pub(super) fn is_asked(&self, place: Partition) -> bool {
        matches!(self.partitions.get(&place), Some(State::Asked | State::Adrift(_)))
    }

    /// Whether one waits because Kafka and Postgres do not agree about it.
    pub(super) fn is_adrift(&self) -> bool {
        self.partitions.values().any(|state| matches!(state, State::Adrift(_)))
    }

    /// Where an unplaced one begins, or why it cannot.
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

    /// Whether records of one that is read are not handed over yet, where the logs end here.
    pub(super) fn lags(&self, ends: &BTreeMap<Partition, i64>) -> bool {
        self.iter().any(|(place, state)| match state {
            State::Reading(span) => ends.get(&place).is_some_and(|end| *end > span.sent),
            State::Unplaced | State::Asked | State::Blocked(..) | State::Adrift(_) => false,
        })
    }

    /// The next record of one that is read.
    pub(super) fn next(&self, place: Partition) -> Option<i64> {
        match self.partitions.get(&place)? {
            State::Reading(span) => Some(span.next),
            State::Unplaced | State::Asked | State::Blocked(..) | State::Adrift(_) => None,
        }
    }

    /// A record of it was read.
    pub(super) fn advance(&mut self, place: Partition, next: i64) {
        if let Some(State::Reading(span)) = self.partitions.get_mut(&place) {
            span.next = next;
        }
    }

    /// Its record at `offset` cannot be read.
    pub(super) fn block(&mut self, place: Partition, offset: i64, why: Unreadable) {
        if let Some(state) = self.partitions.get_mut(&place)
            && let State::Reading(span) = *state
        {
            *state = State::Blocked(Span { next: offset, ..span }, why);
        }
    }

    /// What is waited for at a record: the record, and the schema where that is what is missing.
    pub(super) fn blocked(&self) -> impl Iterator<Item = (Partition, i64, Option<Fingerprint>)> {
        self.iter().filter_map(|(place, state)| match state {
            State::Blocked(span, Unreadable::Schema(fingerprint)) => Some((place, span.next, Some(*fingerprint))),
            State::Blocked(span, Unreadable::Other(_)) => Some((place, span.next, None)),
            State::Unplaced | State::Asked | State::Reading(_) | State::Adrift(_) => None,
        })
    }

    /// Tries a blocked one again, once all that was read before is handed over.
    pub(super) fn release(&mut self, place: Partition) {
        if let Some(state) = self.partitions.get_mut(&place)
            && let State::Blocked(span, _) = state
            && span.sent == span.next
        {
            *state = State::Unplaced;
        }
    }

    /// An operator's reason to step over the record.
    pub(super) fn skip(&self, place: Partition, offset: i64) -> Option<&str> {
        self.skips.get(&(place, offset)).map(String::as_str)
    }

    /// What operators want to be stepped over.
    pub(super) fn know_skips(&mut self, skips: BTreeMap<(Partition, i64), String>) {
        self.skips.extend(skips);
    }

    /// What all that was read moves; from now on it counts as handed over. Also where nothing moves, so that a restored
    /// database is noticed.
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

    /// Both are read: one from 5 on, the other from 7 on.
    fn reading() -> Owned {
        let mut owned = Owned::default();
        for (place, next) in [(ONE, 5), (OTHER, 7)] {
            owned.give(place);
            assert!(owned.unplaced().any(|unplaced| unplaced == place) && owned.next(place).is_none());
            owned.ask();
            assert_eq!(owned.unplaced().count(), 0, "one question at a time");
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
        assert_eq!(owned.unplaced().count(), 0, "an item of it waits to be handed over");
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
        // It went and came back meanwhile; another one is new.
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
        assert!(owned.is_adrift() && owned.is_asked(ONE), "an operator may mend it");
    }

    #[test]
    fn only_what_is_read_and_not_handed_over_lags() {
        let mut owned = reading();
        let ends = |one, other| BTreeMap::from([(ONE, one), (OTHER, other)]);
        assert!(!owned.lags(&ends(5, 7)) && owned.lags(&ends(6, 7)));
        owned.block(OTHER, 7, Unreadable::Other(String::new()));
        assert!(!owned.lags(&ends(5, 9)), "a blocked one waits for an operator");
        owned.advance(ONE, 6);
        assert!(owned.lags(&ends(6, 7)), "what is not handed over is not written");
        owned.hand_over();
        assert!(!owned.lags(&ends(6, 7)));
    }
}
