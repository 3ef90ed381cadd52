//! Whether the stage gets on, as `/ready` says it. Looked at from beside the loop, which may be what is stuck.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    metadata::MetadataTopic,
};
use schemas::{format::RawTopic, topic::Topics};
use service::{group::is_member, health::StageHealth, kafka::because, topics::not_there};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;

use super::consume::{
    Place,
    ask::{self, ANSWER_LONGEST},
    group::{Group, Named},
};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(3);
/// What lasts longer is no pause. With the time between two looks and that for an answer it is seen within 15 s.
const STUCK: Duration = Duration::from_secs(7);

/// The health of the stage, of which each subscription tells its part.
#[derive(Clone)]
pub(super) struct Readiness {
    health: StageHealth,
    parts: Arc<Mutex<BTreeMap<&'static str, Parts>>>,
}

/// What one subscription says.
#[derive(Default)]
struct Parts {
    /// What its loop waits for.
    work: Option<String>,
    /// What is seen from beside it.
    seen: Option<String>,
    /// What its operator must do.
    faults: Vec<String>,
    /// What is seen to be wrong while the rest works.
    partly: Vec<String>,
}

impl Readiness {
    pub(super) fn new(health: StageHealth) -> Self {
        Self { health, parts: Arc::default() }
    }

    fn change(&self, name: &'static str, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(parts.entry(name).or_default());
        let joined = |texts: Vec<&String>| texts.into_iter().map(String::as_str).collect::<Vec<_>>().join("; ");
        let mut waits: Vec<&String> = parts.values().flat_map(|part| part.work.iter().chain(&part.seen)).collect();
        waits.dedup();
        let faults: Vec<&String> = parts.values().flat_map(|part| part.faults.iter().chain(&part.partly)).collect();
        if !waits.is_empty() {
            self.health.waiting(&joined(waits));
        } else if !faults.is_empty() {
            self.health.degraded(&joined(faults));
        } else {
            self.health.ready();
        }
    }
}

/// How far one subscription is.
pub(super) struct Progress {
    name: &'static str,
    readiness: Readiness,
    moved: AtomicU64,
    standing: Mutex<Standing>,
    doubted: Notify,
}

#[derive(Clone, Default)]
struct Standing {
    /// By partition, the first record that is not mapped and acknowledged, and when the one before it was appended, if that is
    /// known: milliseconds since the epoch.
    handled: HashMap<Place, (i64, Option<i64>)>,
    /// Of each partition the first of these since the last look, so that a look compares what was handled before it.
    since_look: Suspects,
    faults: BTreeMap<(&'static str, i32), String>,
    pending_since: Option<Instant>,
    /// Whether a log seems to be another one than it was, and what would show it.
    doubt: Option<Suspects>,
}

/// Records by which it is seen whether a log is still the same: behind which offset the record stands, and when it was appended.
pub(super) type Suspects = HashMap<Place, (i64, i64)>;

impl Progress {
    pub(super) fn new(name: &'static str, readiness: Readiness) -> Arc<Self> {
        Arc::new(Self { name, readiness, moved: AtomicU64::new(0), standing: Mutex::default(), doubted: Notify::new() })
    }

    pub(super) fn health(&self) -> &StageHealth {
        &self.readiness.health
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the loop waits for; none where it works.
    pub(super) fn waits(&self, reason: Option<&str>) {
        self.readiness.change(self.name, |part| part.work = reason.map(str::to_owned));
    }

    /// Whether the logs of this member's partitions should be looked at again; asked once for each doubt.
    pub(super) fn take_doubt(&self) -> Option<Suspects> {
        self.standing().doubt.take()
    }

    /// The logs should be looked at again.
    fn doubt(&self, suspects: Suspects) {
        self.standing().doubt.get_or_insert_default().extend(suspects);
        self.doubted.notify_one();
    }

    /// Resolves when there is a doubt to be taken.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Something was acknowledged.
    pub(super) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// All records of a partition before `next` are handled; the last of them was appended then.
    pub(super) fn handled(&self, place: Place, next: i64, appended_ms: Option<i64>) {
        let mut standing = self.standing();
        standing.handled.insert(place, (next, appended_ms));
        match appended_ms {
            Some(appended_ms) => _ = standing.since_look.entry(place).or_insert((next, appended_ms)),
            None => _ = standing.since_look.remove(&place),
        }
        drop(standing);
        self.moved();
    }

    /// Whether the group waits for partitions to be taken.
    pub(super) fn pending(&self, is_pending: bool) {
        let mut standing = self.standing();
        if is_pending {
            standing.pending_since.get_or_insert_with(Instant::now);
        } else {
            standing.pending_since = None;
        }
    }

    /// So many partitions are this member's now.
    pub(super) fn owns(&self, count: usize) {
        self.health().detail(self.name, &format!("{count} partitions"));
    }

    /// A partition is another member's.
    pub(super) fn lost(&self, place: Place) {
        let mut standing = self.standing();
        standing.handled.remove(&place);
        let count = standing.handled.len();
        let was_faulty = standing.faults.remove(&(place.0.as_str(), place.1)).is_some();
        drop(standing);
        self.owns(count);
        if was_faulty {
            self.tell_faults();
        }
    }

    /// A partition waits for its operator.
    pub(super) fn fault(&self, place: Place, advice: String) {
        tracing::error!(advice, "a partition is not read");
        self.standing().faults.insert((place.0.as_str(), place.1), advice);
        self.tell_faults();
    }

    fn tell_faults(&self) {
        let faults: Vec<String> = self.standing().faults.values().cloned().collect();
        metrics::gauge!("device_manager_normalizer_blocked_partitions", "subscription" => self.name)
            .set(u32::try_from(faults.len()).unwrap_or(u32::MAX));
        self.readiness.change(self.name, |part| part.faults = faults);
    }

    /// Looks again and again until the handle is dropped.
    pub(super) fn watch(
        self: &Arc<Self>,
        consumer: Arc<StreamConsumer<Group>>,
        names: Topics,
        topics: &'static [RawTopic],
    ) -> AbortOnDropHandle<()> {
        let progress = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut judge = Judge::default();
            let mut unanswered = 0;
            loop {
                sleep(EVERY).await;
                let asked = Instant::now();
                let look =
                    Look { progress: Arc::clone(&progress), consumer: Arc::clone(&consumer), names: names.clone() };
                let verdict = match tokio::task::spawn_blocking(move || look.at(topics)).await {
                    Ok(Ok(seen)) => {
                        unanswered = 0;
                        judge.judge(Instant::now(), seen)
                    }
                    // A single look that fails at once may have met a connection that a broker has just closed.
                    Ok(Err(_)) if unanswered == 0 && asked.elapsed() < EVERY => {
                        unanswered += 1;
                        continue;
                    }
                    Ok(Err(_)) => Verdict::waits(because("Kafka does not answer")),
                    Err(_) => Verdict::waits("the look at Kafka ended abnormally".to_owned()),
                };
                if let Some(suspects) = verdict.doubt {
                    progress.doubt(suspects);
                }
                progress.readiness.change(progress.name, |part| {
                    part.seen = verdict.waits;
                    part.partly = verdict.partly;
                });
            }
        }))
    }
}

struct Look {
    progress: Arc<Progress>,
    consumer: Arc<StreamConsumer<Group>>,
    names: Topics,
}

/// What is seen at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    pending_since: Option<Instant>,
    is_member: bool,
    /// How many partitions are this member's; those of a topic that does not exist are left out.
    owns: usize,
    /// What this member acknowledged so far.
    moved: u64,
    /// What is next in each partition that can be read, and where its log ends; where this member owns nothing, in each of
    /// the group's.
    logs: BTreeMap<Named, (i64, i64)>,
    /// A topic that does not exist.
    missing: Option<String>,
    /// Where no partition can be read, why.
    fault: Option<String>,
    /// What was handled before the last look and stands elsewhere in its log now, as the times of its records say.
    suspects: Suspects,
}

impl Look {
    /// Asks Kafka; blocks.
    fn at(&self, topics: &[RawTopic]) -> Result<Seen, KafkaError> {
        let Standing { handled, since_look, faults, pending_since, .. } = self.progress.standing().clone();
        let moved = self.progress.moved.load(Ordering::Relaxed);
        let (there, missing) = self.partitions(topics)?;
        let named = |(topic, partition): Place| (self.names.raw(topic), partition);
        let (mut owns, mut nexts) = (0, BTreeMap::new());
        if handled.is_empty() && !there.is_empty() {
            // There may be more members than partitions: it is looked whether others map what this one does not own.
            nexts.extend(there.iter().map(|named| (named.clone(), 0)));
            nexts.extend(ask::group_positions(&self.consumer, &there)?);
        }
        let mut marks = Suspects::new();
        for (place, (next, appended_ms)) in handled.into_iter().filter(|(place, _)| there.contains(&named(*place))) {
            owns += 1;
            if !faults.contains_key(&(place.0.as_str(), place.1)) {
                nexts.insert(named(place), next);
                marks.extend(appended_ms.map(|appended_ms| (place, (next, appended_ms))));
            }
        }
        let ends = ask::ends(&self.consumer, &nexts.keys().cloned().collect::<Vec<_>>())?;
        let suspects = self.suspects(&there, &since_look)?;
        self.progress.standing().since_look = marks;
        let fault = if nexts.is_empty() { faults.into_values().next() } else { None };
        let log = |(named, end): (Named, i64)| nexts.remove(&named).map(|next| (named, (next, end)));
        Ok(Seen {
            pending_since,
            is_member: is_member(self.consumer.client()),
            owns,
            moved,
            fault,
            logs: ends.into_iter().filter_map(log).collect(),
            missing,
            suspects,
        })
    }

    /// A log that was made anew under a running client may have outgrown the old one: the client reads on at the same offset
    /// and tells nothing. What was appended after the last handled record then begins before that record's place.
    fn suspects(&self, there: &[Named], handled: &Suspects) -> Result<Suspects, KafkaError> {
        let named = |(topic, partition): Place| (self.names.raw(topic), partition);
        let asked: BTreeMap<Named, (Place, i64, i64)> = handled
            .iter()
            .map(|(place, (handled, appended_ms))| (named(*place), (*place, *handled, *appended_ms)))
            .filter(|(named, _)| there.contains(named))
            .collect();
        let times = asked.iter().map(|(named, (.., appended_ms))| (named.clone(), appended_ms + 1)).collect::<Vec<_>>();
        let found = ask::appended_from(&self.consumer, &times)?;
        let earlier = |(named, from): (Named, i64)| {
            let (place, handled, appended_ms) = asked.get(&named)?;
            (from < *handled).then_some((*place, (*handled, *appended_ms)))
        };
        Ok(found.into_iter().filter_map(earlier).collect())
    }

    /// The partitions that there are, and a topic that does not exist.
    fn partitions(&self, topics: &[RawTopic]) -> Result<(Vec<Named>, Option<String>), KafkaError> {
        let (mut there, mut missing) = (Vec::new(), None);
        for topic in topics {
            let name = self.names.raw(*topic);
            let metadata = self.consumer.fetch_metadata(Some(&name), ANSWER_LONGEST)?;
            let before = there.len();
            let found = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            there.extend(found.map(|partition| (name.clone(), partition.id())));
            if there.len() == before {
                missing = Some(name);
            }
        }
        Ok((there, missing))
    }
}

/// What is said of what was seen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// Why nothing gets on.
    waits: Option<String>,
    /// What is wrong while the rest works.
    partly: Vec<String>,
    /// That a log may have been made anew, of which no error need tell, and what would show it.
    doubt: Option<Suspects>,
}

impl Verdict {
    fn waits(reason: String) -> Self {
        Self { waits: Some(reason), ..Self::default() }
    }
}

/// Remembers from look to look.
#[derive(Default)]
struct Judge {
    moved: u64,
    /// When anything moved last.
    moved_at: Option<Instant>,
    /// What is next in each partition, and since when records wait there.
    still: BTreeMap<Named, (i64, Instant)>,
    /// When partitions that stand still were looked at again: each time what is fetched is dropped.
    doubted_at: Option<Instant>,
    /// Since when the group does not know this consumer.
    absent_since: Option<Instant>,
    /// What was suspected at the look before. Where the clock of a broker was set back, the same is seen again and again.
    suspected: Suspects,
}

impl Judge {
    fn judge(&mut self, now: Instant, seen: Seen) -> Verdict {
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
                format!("{name} partition {partition} does not get on, though records wait from offset {next}")
            }));
            if is_still {
                self.doubted_at = Some(now);
            }
        }
        verdict
    }

    /// Takes note of what has moved.
    fn follow(&mut self, now: Instant, seen: &Seen) {
        let is_at = |named: &Named, next: i64| self.still.get(named).is_none_or(|(known, _)| *known == next);
        let is_further = seen.logs.iter().any(|(named, (next, _))| !is_at(named, *next));
        let has_moved = std::mem::replace(&mut self.moved, seen.moved) != seen.moved;
        // A batch that takes long keeps all partitions waiting.
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

    /// Why nothing gets on, if nothing does.
    fn waits(&self, lasts: impl Fn(Instant) -> bool, seen: &Seen, is_any_still: bool) -> Option<String> {
        if seen.pending_since.is_some_and(&lasts) {
            return Some("partitions were assigned, but could not be begun yet".to_owned());
        }
        if self.absent_since.is_some_and(&lasts) {
            return Some("the group does not admit this consumer".to_owned());
        }
        if let Some(name) = seen.missing.as_deref().filter(|_| seen.owns == 0) {
            return Some(not_there(name));
        }
        if is_any_still && self.moved_at.is_none_or(&lasts) {
            return Some(if seen.owns == 0 {
                "records wait, this member owns no partition, and nobody else gets on".to_owned()
            } else {
                "records wait, and no partition gets on".to_owned()
            });
        }
        // As long as there are others, a partition that cannot be read is a matter of degree.
        seen.fault.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(partition: i32) -> Named {
        ("raw.devices".to_owned(), partition)
    }

    /// A member that owns partitions, with what is next in each and where its log ends.
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

    /// What is said when this is seen every few seconds, one after the other.
    fn judged(seen: impl Fn(u64, Instant) -> Seen) -> Vec<Verdict> {
        let start = Instant::now();
        let mut judge = Judge::default();
        let at = |look: u64| start + EVERY * u32::try_from(look).unwrap();
        (0..5).map(|look| judge.judge(at(look), seen(look, start))).collect()
    }

    /// Seen at the fourth look, 12 s after the first, but not before it lasts.
    fn is_waiting_at_last(said: &[Verdict], part: &str) {
        let at_once = said.iter().take(2).all(|said| said.waits.is_none());
        assert!(at_once && said[4].waits.as_deref().is_some_and(|said| said.contains(part)), "{part}: {said:?}");
    }

    #[test]
    fn what_lasts_is_told() {
        is_waiting_at_last(&judged(|_, _| owner(&[(4, 5), (7, 7)])), "no partition gets on");
        is_waiting_at_last(&judged(|_, _| Seen { owns: 0, ..owner(&[(4, 5)]) }), "owns no partition");
        is_waiting_at_last(
            &judged(|_, start| Seen { pending_since: Some(start), ..owner(&[(7, 7)]) }),
            "could not be begun",
        );
        is_waiting_at_last(&judged(|_, _| Seen { is_member: false, ..owner(&[(7, 7)]) }), "does not admit");
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
            // Others map one, and the one that stands still is theirs to tell.
            judged(|look, _| Seen { owns: 0, ..owner(&[(look.cast_signed(), 9), (4, 9)]) }),
        ] {
            assert!(said.iter().all(|said| *said == Verdict::default()), "{said:?}");
        }
    }

    #[test]
    fn a_partition_that_stands_still_while_others_move_is_told() {
        // Busy partition 0, partition 1 with records that are not read, and partition 2 at its end.
        let said = judged(|look, _| Seen { moved: look, ..owner(&[(look.cast_signed(), 9), (4, 5), (7, 7)]) });
        assert!(said.iter().all(|said| said.waits.is_none()), "{said:?}");
        assert!(said.iter().take(2).all(|said| said.partly.is_empty()), "{said:?}");
        let told = "raw.devices partition 1 does not get on, though records wait from offset 4";
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
    fn a_doubt_is_taken_once() {
        let health = service::health::Health::new();
        let progress = Progress::new("raw", Readiness::new(health.stage("normalizer")));
        assert_eq!(progress.take_doubt(), None);
        progress.doubt(Suspects::new());
        assert_eq!(progress.take_doubt(), Some(Suspects::new()));
        assert_eq!(progress.take_doubt(), None);
    }

    #[test]
    fn what_an_operator_must_do_is_told_while_the_rest_works() {
        let health = service::health::Health::new();
        let readiness = Readiness::new(health.stage("normalizer"));
        let [raw, uploads] = ["raw", "uploads"].map(|name| Progress::new(name, readiness.clone()));
        let said = || {
            let state = health.stages()["normalizer"].clone();
            (state.waiting, state.degraded)
        };
        raw.waits(None);
        assert_eq!(said(), (None, None));
        raw.handled((RawTopic::Devices, 0), 1, None);
        raw.fault((RawTopic::Devices, 0), "raise it".to_owned());
        assert_eq!(said(), (None, Some("raise it".to_owned())));
        raw.readiness.change("raw", |part| part.partly = vec!["apply it".to_owned()]);
        assert_eq!(said(), (None, Some("raise it; apply it".to_owned())));
        uploads.waits(Some("Kafka is away"));
        assert_eq!(said(), (Some("Kafka is away".to_owned()), None));
        uploads.waits(None);
        raw.lost((RawTopic::Devices, 0));
        assert_eq!(said(), (None, Some("apply it".to_owned())));
        raw.readiness.change("raw", |part| part.partly.clear());
        assert_eq!(said(), (None, None));
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
