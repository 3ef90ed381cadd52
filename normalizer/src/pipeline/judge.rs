//! Judges whether a subscription makes progress, from a series of observations.

use std::{collections::BTreeMap, time::Duration};

use service::topics::not_there;
use tokio::time::Instant;

use super::{consume::group::Named, progress::Suspects};

/// The time between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(3);
/// A state that lasts longer than this is reported. With the time between two looks and the time for an answer, it is reported
/// within 15 s.
const STUCK: Duration = Duration::from_secs(7);

/// What one look observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pending_since: Option<Instant>,
    pub(super) is_member: bool,
    /// The number of partitions that this member owns, without those of topics that do not exist.
    pub(super) owns: usize,
    /// The number of acknowledgements that this member has received so far.
    pub(super) moved: u64,
    /// The next offset to map and the end offset of the log, for each partition that can be read. If this member owns no
    /// partition, for all partitions of the subscription.
    pub(super) logs: BTreeMap<Named, (i64, i64)>,
    /// A topic that does not exist.
    pub(super) missing: Option<String>,
    /// Why no partition can be read, if none can.
    pub(super) fault: Option<String>,
    /// Records that were handled before the previous look and, according to their append times, are at another offset of the
    /// log now.
    pub(super) suspects: Suspects,
}

/// What an observation means for the readiness of the stage.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why nothing makes progress.
    pub(super) waits: Option<String>,
    /// What is wrong with some partitions while the others make progress.
    pub(super) partly: Vec<String>,
    /// Set if a log may have been recreated, which librdkafka does not always report as an error. Contains the records to
    /// check.
    pub(super) doubt: Option<Suspects>,
}

impl Verdict {
    /// A verdict that nothing makes progress.
    pub(super) fn waits(reason: String) -> Self {
        Self { waits: Some(reason), ..Self::default() }
    }
}

/// The state that is kept between looks.
#[derive(Default)]
pub(super) struct Judge {
    moved: u64,
    /// When anything made progress last.
    moved_at: Option<Instant>,
    /// The next offset of each partition, and since when records have been waiting there.
    still: BTreeMap<Named, (i64, Instant)>,
    /// When partitions without progress were last checked. Each check drops the records that are already fetched.
    doubted_at: Option<Instant>,
    /// Since when the consumer has not been a member of its group.
    absent_since: Option<Instant>,
    /// The suspects of the previous look. If the clock of a broker was set back, each look finds the same ones again.
    suspected: Suspects,
}

impl Judge {
    /// Returns the verdict on what a look observed.
    pub(super) fn judge(&mut self, now: Instant, seen: Seen) -> Verdict {
        let mut verdict = self.judge_progress(now, &seen);
        let is_news = !seen.suspects.is_empty() && seen.suspects != self.suspected;
        self.suspected.clone_from(&seen.suspects);
        if is_news {
            verdict.doubt.get_or_insert_default().extend(seen.suspects);
        }
        verdict
    }

    fn judge_progress(&mut self, now: Instant, seen: &Seen) -> Verdict {
        self.follow(now, seen);
        self.absent_since = if seen.is_member { None } else { self.absent_since.or(Some(now)) };
        let lasts = |since: Instant| now.duration_since(since) >= STUCK;
        let still: Vec<_> = self.still.iter().filter(|(_, (_, since))| lasts(*since)).collect();
        let mut verdict = Verdict { waits: self.waits(lasts, seen, !still.is_empty()), ..Verdict::default() };
        if seen.owns > 0 {
            let is_still = !still.is_empty() && self.doubted_at.is_none_or(lasts);
            let is_doubtful = is_still || seen.logs.values().any(|(next, end)| end < next);
            verdict.doubt = is_doubtful.then(Suspects::new);
            verdict.partly.extend(seen.missing.as_deref().map(not_there));
            verdict.partly.extend(still.into_iter().map(|((name, partition), (next, _))| {
                format!("{name} partition {partition} makes no progress, although records wait from offset {next}")
            }));
            if is_still {
                self.doubted_at = Some(now);
            }
        }
        verdict
    }

    /// Updates which partitions have moved.
    fn follow(&mut self, now: Instant, seen: &Seen) {
        let is_at = |named: &Named, next: i64| self.still.get(named).is_none_or(|(known, _)| *known == next);
        let is_further = seen.logs.iter().any(|(named, (next, _))| !is_at(named, *next));
        let has_moved = std::mem::replace(&mut self.moved, seen.moved) != seen.moved;
        // A batch that takes long makes all partitions wait.
        let is_busy = has_moved && !is_further;
        if has_moved || is_further {
            self.moved_at = Some(now);
        }
        let since = |named: &Named, next: i64, end: i64| {
            let known = self.still.get(named).filter(|(known, _)| *known == next && next < end && !is_busy);
            known.map_or(now, |(_, since)| *since)
        };
        self.still =
            seen.logs.iter().map(|(named, (next, end))| (named.clone(), (*next, since(named, *next, *end)))).collect();
    }

    /// Returns why nothing makes progress, if nothing does.
    fn waits(&self, lasts: impl Fn(Instant) -> bool, seen: &Seen, is_any_still: bool) -> Option<String> {
        if seen.pending_since.is_some_and(&lasts) {
            return Some("partitions were assigned, but their start offsets are not known yet".to_owned());
        }
        if self.absent_since.is_some_and(&lasts) {
            return Some("this consumer is not a member of its group".to_owned());
        }
        if let Some(name) = seen.missing.as_deref().filter(|_| seen.owns == 0) {
            return Some(not_there(name));
        }
        if is_any_still && self.moved_at.is_none_or(&lasts) {
            return Some(if seen.owns == 0 {
                "records wait, this member owns no partition, and no other member makes progress".to_owned()
            } else {
                "records wait, and no partition makes progress".to_owned()
            });
        }
        // While other partitions can be read, one that cannot be read only degrades the stage.
        seen.fault.clone()
    }
}

#[cfg(test)]
mod tests {
    use schemas::format::RawTopic;

    use super::*;

    fn named(partition: i32) -> Named {
        ("raw.devices".to_owned(), partition)
    }

    /// An observation of a member that owns partitions, with the next offset and the end offset of each.
    fn owner(logs: &[(i64, i64)]) -> Seen {
        let logs: BTreeMap<_, _> = (0..).map(named).zip(logs.iter().copied()).collect();
        let owns = logs.len();
        Seen {
            pending_since: None,
            is_member: true,
            owns,
            moved: 0,
            logs,
            missing: None,
            fault: None,
            suspects: Suspects::new(),
        }
    }

    /// Returns the verdicts on five looks, one every [`EVERY`].
    fn judged(seen: impl Fn(u64, Instant) -> Seen) -> Vec<Verdict> {
        let start = Instant::now();
        let mut judge = Judge::default();
        let at = |look: u64| start + EVERY * u32::try_from(look).unwrap();
        (0..5).map(|look| judge.judge(at(look), seen(look, start))).collect()
    }

    /// Asserts that the wait is reported at the fifth look, 12 s after the first, but not yet at the first two.
    fn is_waiting_at_last(said: &[Verdict], part: &str) {
        let at_once = said.iter().take(2).all(|said| said.waits.is_none());
        assert!(at_once && said[4].waits.as_deref().is_some_and(|said| said.contains(part)), "{part}: {said:?}");
    }

    #[test]
    fn what_lasts_is_told() {
        is_waiting_at_last(&judged(|_, _| owner(&[(4, 5), (7, 7)])), "no partition makes progress");
        is_waiting_at_last(&judged(|_, _| Seen { owns: 0, ..owner(&[(4, 5)]) }), "owns no partition");
        is_waiting_at_last(
            &judged(|_, start| Seen { pending_since: Some(start), ..owner(&[(7, 7)]) }),
            "start offsets are not known",
        );
        is_waiting_at_last(&judged(|_, _| Seen { is_member: false, ..owner(&[(7, 7)]) }), "is not a member");
        let fault = judged(|_, _| Seen { fault: Some("x".to_owned()), ..owner(&[]) });
        assert!(fault.iter().all(|said| said.waits.as_deref() == Some("x")));
    }

    #[test]
    fn a_topic_that_does_not_exist_is_told() {
        let missing = || Some("raw.devices".to_owned());
        let told = "the topic raw.devices does not exist: run `device-manager topics apply`";
        for said in judged(|_, _| Seen { missing: missing(), owns: 0, ..owner(&[(7, 7)]) }) {
            assert_eq!(said.waits.as_deref(), Some(told));
        }
        for said in judged(|_, _| Seen { missing: missing(), ..owner(&[(7, 7)]) }) {
            assert_eq!((said.waits, said.partly), (None, vec![told.to_owned()]));
        }
    }

    #[test]
    fn what_moves_or_has_nothing_to_do_is_well() {
        for said in [
            judged(|_, _| owner(&[(7, 7)])),
            judged(|_, _| owner(&[])),
            judged(|look, _| owner(&[(look.cast_signed(), 9)])),
            judged(|look, _| owner(&[(4, if look.is_multiple_of(2) { 5 } else { 4 })])),
            judged(|look, _| Seen { is_member: look.is_multiple_of(2), ..owner(&[(7, 7)]) }),
            // In the middle of a batch that takes long, such as a large upload.
            judged(|look, _| Seen { moved: look, ..owner(&[(4, 5), (4, 9)]) }),
            // Other members map one of the partitions. The one without progress is reported by its owner.
            judged(|look, _| Seen { owns: 0, ..owner(&[(look.cast_signed(), 9), (4, 9)]) }),
        ] {
            assert!(said.iter().all(|said| *said == Verdict::default()), "{said:?}");
        }
    }

    #[test]
    fn a_partition_that_stands_still_while_others_move_is_told() {
        // Partition 0 is busy, partition 1 has records that are not read, and partition 2 is at its end.
        let said = judged(|look, _| Seen { moved: look, ..owner(&[(look.cast_signed(), 9), (4, 5), (7, 7)]) });
        assert!(said.iter().all(|said| said.waits.is_none()), "{said:?}");
        assert!(said.iter().take(2).all(|said| said.partly.is_empty()), "{said:?}");
        let told = "raw.devices partition 1 makes no progress, although records wait from offset 4";
        assert_eq!(said[4].partly, [told]);
    }

    #[test]
    fn a_log_that_ends_too_early_or_stands_still_is_looked_at_again() {
        let start = Instant::now();
        let mut judge = Judge::default();
        let mut is_doubtful = |after: Duration, log| judge.judge(start + after, owner(&[log])).doubt.is_some();
        assert!(!is_doubtful(Duration::ZERO, (7, 7)));
        assert!(!is_doubtful(Duration::ZERO, (7, 9)));
        assert!(!is_doubtful(STUCK, (8, 9)), "it moves");
        assert!(is_doubtful(STUCK * 2, (8, 9)));
        assert!(!is_doubtful(STUCK * 2 + EVERY, (8, 9)), "it is being looked at");
        assert!(is_doubtful(STUCK * 3, (8, 9)));
        assert!(is_doubtful(STUCK * 3, (8, 2)));
    }

    #[test]
    fn a_record_that_stands_elsewhere_is_told_once() {
        let (mut judge, now) = (Judge::default(), Instant::now());
        let suspects = |handled| Suspects::from([((RawTopic::Devices, 0), (handled, 77))]);
        let mut doubt = |suspects| judge.judge(now, Seen { suspects, ..owner(&[(6, 6)]) }).doubt;
        assert_eq!(doubt(Suspects::new()), None);
        assert_eq!(doubt(suspects(6)), Some(suspects(6)));
        assert_eq!(doubt(suspects(6)), None, "the clock of a broker was set back");
        assert_eq!(doubt(suspects(7)), Some(suspects(7)));
        assert_eq!(doubt(Suspects::new()), None);
        assert_eq!(doubt(suspects(7)), Some(suspects(7)));
    }
}
