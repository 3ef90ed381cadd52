//! Judges whether a subscription makes progress, from a series of observations.

use std::{collections::BTreeMap, time::Duration};

use service::{kafka::because, topics::not_there};
use tokio::time::Instant;

use super::{consume::group::TopicPartition, progress::Suspects};

/// The time between two observations.
pub(super) const OBSERVE_EVERY: Duration = Duration::from_secs(3);
/// A state that lasts longer than this is reported. With the time between two observations and the time for an answer, it is
/// reported within 15 s.
const STUCK: Duration = Duration::from_secs(7);

/// What was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) pending_since: Option<Instant>,
    pub(super) is_member: bool,
    /// The number of partitions that this member owns, without those of topics that do not exist.
    pub(super) owns: usize,
    /// The number of acknowledgements that this member has received so far.
    pub(super) acknowledgements: u64,
    /// The next offset to map and the end offset of the log, for each partition that can be read. If this member owns no
    /// partition, for all partitions of the subscription.
    pub(super) logs: BTreeMap<TopicPartition, (i64, i64)>,
    /// A topic that does not exist.
    pub(super) missing: Option<String>,
    /// Why no partition can be read, if none can.
    pub(super) fault: Option<String>,
    /// Records that were handled before the previous observation and, according to their append times, are at another offset of
    /// the log now.
    pub(super) suspects: Suspects,
}

/// What an observation means for the readiness of the stage.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Assessment {
    /// Why nothing makes progress.
    pub(super) wait: Option<String>,
    /// What is wrong with some partitions while the others make progress.
    pub(super) partial_faults: Vec<String>,
    /// Set if a log may have been recreated, which librdkafka does not always report as an error. Contains the records to
    /// check.
    pub(super) recheck: Option<Suspects>,
}

impl Assessment {
    /// An assessment that nothing makes progress.
    pub(super) fn waiting(reason: String) -> Self {
        Self { wait: Some(reason), ..Self::default() }
    }
}

/// The state that is kept between observations.
#[derive(Default)]
pub(super) struct Judge {
    acknowledgements: u64,
    /// When anything made progress last.
    progressed_at: Option<Instant>,
    /// The next offset of each partition, and since when records have been waiting there.
    still: BTreeMap<TopicPartition, (i64, Instant)>,
    /// When partitions without progress were last checked. Each check drops the records that are already fetched.
    rechecked_at: Option<Instant>,
    /// Since when the consumer has not been a member of its group.
    absent_since: Option<Instant>,
    /// The suspects of the previous observation. If the clock of a broker was set back, each observation finds the same ones
    /// again.
    suspected: Suspects,
    /// The number of consecutive observations that Kafka has not answered.
    unanswered: u32,
}

impl Judge {
    /// Returns the assessment of an observation that Kafka has not answered, after `took`. A single one that fails quickly may have
    /// used a connection that a broker had just closed.
    pub(super) fn assess_failure(&mut self, took: Duration) -> Option<Assessment> {
        self.unanswered += 1;
        let is_outage = self.unanswered > 1 || took >= OBSERVE_EVERY;
        is_outage.then(|| Assessment::waiting(because("Kafka does not answer")))
    }

    /// Returns the assessment of an observation.
    pub(super) fn assess(&mut self, now: Instant, observation: Observation) -> Assessment {
        self.unanswered = 0;
        let mut assessment = self.assess_progress(now, &observation);
        let is_news = !observation.suspects.is_empty() && observation.suspects != self.suspected;
        self.suspected.clone_from(&observation.suspects);
        if is_news {
            assessment.recheck.get_or_insert_default().extend(observation.suspects);
        }
        assessment
    }

    fn assess_progress(&mut self, now: Instant, observation: &Observation) -> Assessment {
        self.update_offsets(now, observation);
        self.absent_since = if observation.is_member { None } else { self.absent_since.or(Some(now)) };
        let lasts = |since: Instant| now.duration_since(since) >= STUCK;
        let still: Vec<_> = self.still.iter().filter(|(_, (_, since))| lasts(*since)).collect();
        let mut assessment =
            Assessment { wait: self.wait_reason(lasts, observation, !still.is_empty()), ..Assessment::default() };
        if observation.owns > 0 {
            let is_still = !still.is_empty() && self.rechecked_at.is_none_or(lasts);
            let is_recheck_due = is_still || observation.logs.values().any(|(next, end)| end < next);
            assessment.recheck = is_recheck_due.then(Suspects::new);
            assessment.partial_faults.extend(observation.missing.as_deref().map(not_there));
            assessment.partial_faults.extend(still.into_iter().map(|((name, partition), (next, _))| {
                format!("{name} partition {partition} makes no progress, although records wait from offset {next}")
            }));
            if is_still {
                self.rechecked_at = Some(now);
            }
        }
        assessment
    }

    /// Updates which partitions have moved.
    fn update_offsets(&mut self, now: Instant, observation: &Observation) {
        let is_at = |named: &TopicPartition, next: i64| self.still.get(named).is_none_or(|(known, _)| *known == next);
        let is_further = observation.logs.iter().any(|(named, (next, _))| !is_at(named, *next));
        let has_moved =
            std::mem::replace(&mut self.acknowledgements, observation.acknowledgements) != observation.acknowledgements;
        // A batch that takes long makes all partitions wait.
        let is_busy = has_moved && !is_further;
        if has_moved || is_further {
            self.progressed_at = Some(now);
        }
        let since = |named: &TopicPartition, next: i64, end: i64| {
            let known = self.still.get(named).filter(|(known, _)| *known == next && next < end && !is_busy);
            known.map_or(now, |(_, since)| *since)
        };
        self.still = observation
            .logs
            .iter()
            .map(|(named, (next, end))| (named.clone(), (*next, since(named, *next, *end))))
            .collect();
    }

    /// Returns why nothing makes progress, if nothing does.
    fn wait_reason(
        &self,
        lasts: impl Fn(Instant) -> bool,
        observation: &Observation,
        is_any_still: bool,
    ) -> Option<String> {
        if observation.pending_since.is_some_and(&lasts) {
            return Some("partitions were assigned, but their start offsets are not known yet".to_owned());
        }
        if self.absent_since.is_some_and(&lasts) {
            return Some("this consumer is not a member of its group".to_owned());
        }
        if let Some(name) = observation.missing.as_deref().filter(|_| observation.owns == 0) {
            return Some(not_there(name));
        }
        if is_any_still && self.progressed_at.is_none_or(&lasts) {
            return Some(if observation.owns == 0 {
                "records wait, this member owns no partition, and no other member makes progress".to_owned()
            } else {
                "records wait, and no partition makes progress".to_owned()
            });
        }
        // While other partitions can be read, one that cannot be read only degrades the stage.
        observation.fault.clone()
    }
}

#[cfg(test)]
mod tests {
    use schemas::format::RawTopic;

    use super::*;

    fn named(partition: i32) -> TopicPartition {
        ("raw.devices".to_owned(), partition)
    }

    /// An observation of a member that owns partitions, with the next offset and the end offset of each.
    fn owner(logs: &[(i64, i64)]) -> Observation {
        let logs: BTreeMap<_, _> = (0..).map(named).zip(logs.iter().copied()).collect();
        let owns = logs.len();
        Observation {
            pending_since: None,
            is_member: true,
            owns,
            acknowledgements: 0,
            logs,
            missing: None,
            fault: None,
            suspects: Suspects::new(),
        }
    }

    /// Returns the assessments of five observations, one every [`OBSERVE_EVERY`].
    fn judged(observation: impl Fn(u64, Instant) -> Observation) -> Vec<Assessment> {
        let start = Instant::now();
        let mut judge = Judge::default();
        let at = |index: u64| start + OBSERVE_EVERY * u32::try_from(index).unwrap();
        (0..5).map(|index| judge.assess(at(index), observation(index, start))).collect()
    }

    /// Asserts that the wait is reported at the fifth observation, 12 s after the first, but not yet at the first two.
    fn is_waiting_at_last(assessments: &[Assessment], part: &str) {
        let at_once = assessments.iter().take(2).all(|assessment| assessment.wait.is_none());
        assert!(
            at_once && assessments[4].wait.as_deref().is_some_and(|reason| reason.contains(part)),
            "{part}: {assessments:?}"
        );
    }

    #[test]
    fn a_lasting_problem_is_reported_as_a_wait() {
        is_waiting_at_last(&judged(|_, _| owner(&[(4, 5), (7, 7)])), "no partition makes progress");
        is_waiting_at_last(&judged(|_, _| Observation { owns: 0, ..owner(&[(4, 5)]) }), "owns no partition");
        is_waiting_at_last(
            &judged(|_, start| Observation { pending_since: Some(start), ..owner(&[(7, 7)]) }),
            "start offsets are not known",
        );
        is_waiting_at_last(&judged(|_, _| Observation { is_member: false, ..owner(&[(7, 7)]) }), "is not a member");
        let fault = judged(|_, _| Observation { fault: Some("x".to_owned()), ..owner(&[]) });
        assert!(fault.iter().all(|assessment| assessment.wait.as_deref() == Some("x")));
    }

    #[test]
    fn a_topic_that_does_not_exist_is_reported() {
        let missing = || Some("raw.devices".to_owned());
        let expected = "the topic raw.devices does not exist: run `device-manager topics apply`";
        for assessment in judged(|_, _| Observation { missing: missing(), owns: 0, ..owner(&[(7, 7)]) }) {
            assert_eq!(assessment.wait.as_deref(), Some(expected));
        }
        for assessment in judged(|_, _| Observation { missing: missing(), ..owner(&[(7, 7)]) }) {
            assert_eq!((assessment.wait, assessment.partial_faults), (None, vec![expected.to_owned()]));
        }
    }

    #[test]
    fn a_member_that_makes_progress_or_has_nothing_to_read_is_healthy() {
        for assessments in [
            judged(|_, _| owner(&[(7, 7)])),
            judged(|_, _| owner(&[])),
            judged(|index, _| owner(&[(index.cast_signed(), 9)])),
            judged(|index, _| owner(&[(4, if index.is_multiple_of(2) { 5 } else { 4 })])),
            judged(|index, _| Observation { is_member: index.is_multiple_of(2), ..owner(&[(7, 7)]) }),
            // In the middle of a batch that takes long, such as a large upload.
            judged(|index, _| Observation { acknowledgements: index, ..owner(&[(4, 5), (4, 9)]) }),
            // Other members map one of the partitions. The one without progress is reported by its owner.
            judged(|index, _| Observation { owns: 0, ..owner(&[(index.cast_signed(), 9), (4, 9)]) }),
        ] {
            assert!(assessments.iter().all(|assessment| *assessment == Assessment::default()), "{assessments:?}");
        }
    }

    #[test]
    fn a_partition_without_progress_is_reported_while_others_make_progress() {
        // Partition 0 is busy, partition 1 has records that are not read, and partition 2 is at its end.
        let assessments = judged(|index, _| Observation {
            acknowledgements: index,
            ..owner(&[(index.cast_signed(), 9), (4, 5), (7, 7)])
        });
        assert!(assessments.iter().all(|assessment| assessment.wait.is_none()), "{assessments:?}");
        assert!(assessments.iter().take(2).all(|assessment| assessment.partial_faults.is_empty()), "{assessments:?}");
        let expected = "raw.devices partition 1 makes no progress, although records wait from offset 4";
        assert_eq!(assessments[4].partial_faults, [expected]);
    }

    #[test]
    fn a_log_that_ends_too_early_or_makes_no_progress_is_checked_again() {
        let start = Instant::now();
        let mut judge = Judge::default();
        let mut is_recheck_due = |after: Duration, log| judge.assess(start + after, owner(&[log])).recheck.is_some();
        assert!(!is_recheck_due(Duration::ZERO, (7, 7)));
        assert!(!is_recheck_due(Duration::ZERO, (7, 9)));
        assert!(!is_recheck_due(STUCK, (8, 9)), "it moves");
        assert!(is_recheck_due(STUCK * 2, (8, 9)));
        assert!(!is_recheck_due(STUCK * 2 + OBSERVE_EVERY, (8, 9)), "it was checked at the observation before");
        assert!(is_recheck_due(STUCK * 3, (8, 9)));
        assert!(is_recheck_due(STUCK * 3, (8, 2)));
    }

    #[test]
    fn one_quick_failure_is_not_an_outage() {
        let mut judge = Judge::default();
        let fails =
            |judge: &mut Judge, took| judge.assess_failure(took).and_then(|assessment| assessment.wait).is_some();
        assert!(!fails(&mut judge, Duration::ZERO));
        judge.assess(Instant::now(), owner(&[]));
        assert!(!fails(&mut judge, Duration::ZERO), "Kafka has answered in between");
        assert!(fails(&mut judge, Duration::ZERO));
        assert!(fails(&mut Judge::default(), OBSERVE_EVERY), "one that lasts");
    }

    #[test]
    fn a_suspect_partition_is_rechecked_once() {
        let (mut judge, now) = (Judge::default(), Instant::now());
        let suspects = |handled| Suspects::from([((RawTopic::Devices, 0), (handled, 77))]);
        let mut recheck = |suspects| judge.assess(now, Observation { suspects, ..owner(&[(6, 6)]) }).recheck;
        assert_eq!(recheck(Suspects::new()), None);
        assert_eq!(recheck(suspects(6)), Some(suspects(6)));
        assert_eq!(recheck(suspects(6)), None, "the clock of a broker was set back");
        assert_eq!(recheck(suspects(7)), Some(suspects(7)));
        assert_eq!(recheck(Suspects::new()), None);
        assert_eq!(recheck(suspects(7)), Some(suspects(7)));
    }
}
