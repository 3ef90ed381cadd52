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
use service::{group::is_member, health::StageHealth, kafka::because};
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
        let faults: Vec<&String> = parts.values().flat_map(|part| &part.faults).collect();
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
    /// By partition, the first record that is not mapped and acknowledged.
    handled: HashMap<Place, i64>,
    faults: BTreeMap<(&'static str, i32), String>,
    pending_since: Option<Instant>,
    /// Partitions in which records wait: what is next, and since when it is.
    still: HashMap<Place, (i64, Instant)>,
    /// Whether a log seems to be another one than it was.
    is_doubtful: bool,
}

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
    pub(super) fn take_doubt(&self) -> bool {
        std::mem::take(&mut self.standing().is_doubtful)
    }

    /// A partition's log ends here. One that ends before what is next, or in which records wait and nothing moves, may have been
    /// made anew, of which no error need tell.
    fn ends(&self, place: Place, (next, end): (i64, i64), now: Instant) {
        let mut standing = self.standing();
        if end == next {
            standing.still.remove(&place);
            return;
        }
        let (known, since) = *standing.still.entry(place).or_insert((next, now));
        let is_still = known == next && now.duration_since(since) >= STUCK;
        if known != next || is_still {
            standing.still.insert(place, (next, now));
        }
        if is_still || end < next {
            standing.is_doubtful = true;
            self.doubted.notify_one();
        }
    }

    /// Resolves when there is a doubt to be taken.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Something was acknowledged.
    pub(super) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// All records of a partition before `next` are handled.
    pub(super) fn handled(&self, place: Place, next: i64) {
        self.standing().handled.insert(place, next);
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
        standing.still.remove(&place);
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
                let seen = match tokio::task::spawn_blocking(move || look.at(topics)).await {
                    Ok(Ok(seen)) => {
                        unanswered = 0;
                        judge.judge(Instant::now(), &seen)
                    }
                    // A single look that fails at once may have met a connection that a broker has just closed.
                    Ok(Err(_)) if unanswered == 0 && asked.elapsed() < EVERY => {
                        unanswered += 1;
                        continue;
                    }
                    Ok(Err(_)) => Some(because("Kafka does not answer")),
                    Err(_) => Some("the look at Kafka ended abnormally".to_owned()),
                };
                progress.readiness.change(progress.name, |part| part.seen = seen);
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
    owns: usize,
    /// What was acknowledged so far, by this member; where it owns nothing, by the group.
    moved: u64,
    /// Records that wait in partitions that can be read.
    waiting: i64,
    /// A topic that does not exist.
    missing: Option<String>,
    /// Where no partition can be read, why.
    fault: Option<String>,
}

impl Look {
    /// Asks Kafka; blocks.
    fn at(&self, topics: &[RawTopic]) -> Result<Seen, KafkaError> {
        let Standing { handled, faults, pending_since, .. } = self.progress.standing().clone();
        let mut seen = Seen {
            pending_since,
            is_member: is_member(self.consumer.client()),
            owns: handled.len(),
            moved: self.progress.moved.load(Ordering::Relaxed),
            waiting: 0,
            missing: None,
            fault: None,
        };
        if handled.is_empty() {
            return self.at_group(topics, seen);
        }
        let named: Vec<Named> = handled.keys().map(|(topic, partition)| (self.names.raw(*topic), *partition)).collect();
        for ((name, partition), end) in ask::ends(&self.consumer, &named)? {
            let Some(topic) = self.names.raw_of(&name) else { continue };
            let Some(next) = handled.get(&(topic, partition)) else { continue };
            if !faults.contains_key(&(topic.as_str(), partition)) {
                seen.waiting += (end - next).max(0);
                self.progress.ends((topic, partition), (*next, end), Instant::now());
            }
        }
        if faults.len() == handled.len() {
            seen.fault = faults.into_values().next();
        }
        Ok(seen)
    }

    /// Whether others map what this member does not own: there may be more members than partitions.
    fn at_group(&self, topics: &[RawTopic], mut seen: Seen) -> Result<Seen, KafkaError> {
        let mut named: Vec<Named> = Vec::new();
        for topic in topics {
            let name = self.names.raw(*topic);
            let metadata = self.consumer.fetch_metadata(Some(&name), ANSWER_LONGEST)?;
            let before = named.len();
            let found = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            named.extend(found.map(|partition| (name.clone(), partition.id())));
            if named.len() == before {
                seen.missing = Some(name);
            }
        }
        if named.is_empty() {
            return Ok(seen);
        }
        let positions: HashMap<Named, i64> = ask::group_positions(&self.consumer, &named)?.into_iter().collect();
        seen.moved = positions.values().map(|next| next.unsigned_abs()).sum();
        for (named, end) in ask::ends(&self.consumer, &named)? {
            seen.waiting += (end - positions.get(&named).copied().unwrap_or(0)).max(0);
        }
        Ok(seen)
    }
}

/// Remembers from look to look.
#[derive(Default)]
struct Judge {
    moved: Option<u64>,
    /// Since when records wait and nothing moves.
    still_since: Option<Instant>,
    /// Since when the group does not know this consumer.
    absent_since: Option<Instant>,
}

impl Judge {
    /// What is wrong, if anything is.
    fn judge(&mut self, now: Instant, seen: &Seen) -> Option<String> {
        let is_still = self.moved.replace(seen.moved) == Some(seen.moved) && seen.waiting > 0;
        self.still_since = if is_still { self.still_since.or(Some(now)) } else { None };
        self.absent_since = if seen.is_member { None } else { self.absent_since.or(Some(now)) };
        let lasts = |since: Instant| now.duration_since(since) >= STUCK;
        if seen.pending_since.is_some_and(lasts) {
            return Some("partitions were assigned, but could not be begun yet".to_owned());
        }
        if self.absent_since.is_some_and(lasts) {
            return Some("the group does not admit this consumer".to_owned());
        }
        if let Some(name) = &seen.missing {
            return Some(format!("the topic {name} does not exist: run `device-manager topics apply`"));
        }
        if self.still_since.is_some_and(lasts) {
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

    const WELL: Seen =
        Seen { pending_since: None, is_member: true, owns: 2, moved: 0, waiting: 0, missing: None, fault: None };

    /// What is said when this is seen every few seconds, one after the other.
    fn judged(seen: impl Fn(u64, Instant) -> Seen) -> Vec<Option<String>> {
        let start = Instant::now();
        let mut judge = Judge::default();
        let at = |look: u64| start + EVERY * u32::try_from(look).unwrap();
        (0..5).map(|look| judge.judge(at(look), &seen(look, start))).collect()
    }

    /// Seen at the fourth look, 12 s after the first, but not before it lasts.
    fn is_waiting_at_last(said: &[Option<String>], part: &str) {
        let at_once = said.iter().take(2).all(Option::is_none);
        assert!(at_once && said[4].as_deref().is_some_and(|said| said.contains(part)), "{part}: {said:?}");
    }

    #[test]
    fn what_lasts_is_told() {
        is_waiting_at_last(&judged(|_, _| Seen { waiting: 1, ..WELL }), "no partition gets on");
        is_waiting_at_last(&judged(|_, _| Seen { waiting: 1, owns: 0, ..WELL }), "owns no partition");
        is_waiting_at_last(&judged(|_, start| Seen { pending_since: Some(start), ..WELL }), "could not be begun");
        is_waiting_at_last(&judged(|_, _| Seen { is_member: false, ..WELL }), "does not admit");
        let fault = judged(|_, _| Seen { fault: Some("x".to_owned()), ..WELL });
        assert!(fault.iter().all(|said| said.as_deref() == Some("x")));
        let missing = judged(|_, _| Seen { missing: Some("raw.devices".to_owned()), ..WELL });
        assert!(missing.iter().all(|said| said.as_deref().is_some_and(|said| said.contains("topics apply"))));
    }

    #[test]
    fn what_moves_or_has_nothing_to_do_is_well() {
        for seen in [
            judged(|_, _| WELL),
            judged(|_, _| Seen { owns: 0, ..WELL }),
            judged(|look, _| Seen { waiting: 7, moved: look, ..WELL }),
            judged(|look, _| Seen { waiting: 7 * i64::from(look.is_multiple_of(2)), ..WELL }),
            judged(|look, _| Seen { is_member: look.is_multiple_of(2), ..WELL }),
        ] {
            assert!(seen.iter().all(Option::is_none), "{seen:?}");
        }
    }

    #[test]
    fn a_log_that_ends_too_early_or_stands_still_is_looked_at_again() {
        let health = service::health::Health::new();
        let progress = Progress::new("raw", Readiness::new(health.stage("normalizer")));
        let (place, now) = ((RawTopic::Devices, 0), Instant::now());
        progress.ends(place, (7, 7), now);
        progress.ends(place, (7, 9), now);
        assert!(!progress.take_doubt());
        progress.ends(place, (8, 9), now + STUCK);
        assert!(!progress.take_doubt(), "it moves");
        progress.ends(place, (8, 9), now + STUCK * 2);
        assert!(progress.take_doubt());
        assert!(!progress.take_doubt());
        progress.ends(place, (8, 2), now + STUCK * 2);
        assert!(progress.take_doubt());
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
        raw.handled((RawTopic::Devices, 0), 1);
        raw.fault((RawTopic::Devices, 0), "raise it".to_owned());
        assert_eq!(said(), (None, Some("raise it".to_owned())));
        uploads.waits(Some("Kafka is away"));
        assert_eq!(said(), (Some("Kafka is away".to_owned()), None));
        uploads.waits(None);
        raw.lost((RawTopic::Devices, 0));
        assert_eq!(said(), (None, None));
    }
}
