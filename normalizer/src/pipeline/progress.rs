//! The progress of a subscription, as reported by its loop and as observed from outside the loop.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use service::health::StageHealth;
use tokio::{sync::Notify, time::Instant};

use super::{readiness::Readiness, record::RawPartition};

/// The progress of one subscription.
pub(super) struct Progress {
    name: &'static str,
    readiness: Readiness,
    moved: AtomicU64,
    standing: Mutex<Standing>,
    doubted: Notify,
}

/// The state of a subscription.
#[derive(Clone, Default)]
pub(super) struct Standing {
    /// By partition, the offset of the first record that is not yet mapped and acknowledged, and the append time of the record
    /// before it if it is known, in milliseconds since the epoch.
    pub(super) handled: HashMap<RawPartition, (i64, Option<i64>)>,
    /// By partition, the entry of `handled` at the last look, or the first one after it. The next look checks these records.
    pub(super) since_look: Suspects,
    pub(super) faults: BTreeMap<(&'static str, i32), String>,
    pub(super) pending_since: Option<Instant>,
    /// Set if a log may have been recreated. Contains the records to check.
    doubt: Option<Suspects>,
}

/// Records by which to check whether a log is still the same: the offset after the record, and when the record was appended, in
/// milliseconds since the epoch.
pub(super) type Suspects = HashMap<RawPartition, (i64, i64)>;

impl Progress {
    pub(super) fn new(name: &'static str, readiness: Readiness) -> Arc<Self> {
        Arc::new(Self { name, readiness, moved: AtomicU64::new(0), standing: Mutex::default(), doubted: Notify::new() })
    }

    pub(super) fn health(&self) -> &StageHealth {
        &self.readiness.health
    }

    /// Locks and returns the state of the subscription.
    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what the loop waits for; `None` if it does not wait.
    pub(super) fn waits(&self, reason: Option<&str>) {
        self.readiness.change(self.name, |report| report.work = reason.map(str::to_owned));
    }

    /// Takes the request to check the logs of this member's partitions again. Each request is returned once.
    pub(super) fn take_doubt(&self) -> Option<Suspects> {
        self.standing().doubt.take()
    }

    /// Requests that the logs are checked again.
    pub(super) fn doubt(&self, suspects: Suspects) {
        self.standing().doubt.get_or_insert_default().extend(suspects);
        self.doubted.notify_one();
    }

    /// Waits until there is a doubt to take.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Counts an acknowledgement.
    pub(super) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of acknowledgements so far.
    pub(super) fn moves(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Reports what was observed from outside the loop: why nothing makes progress, and what is wrong while the rest works.
    pub(super) fn seen(&self, waits: Option<String>, partly: Vec<String>) {
        self.readiness.change(self.name, |report| (report.seen, report.partly) = (waits, partly));
    }

    /// Records that all records of a partition before `next` are handled. `appended_ms` is the append time of the last of them.
    pub(super) fn handled(&self, place: RawPartition, next: i64, appended_ms: Option<i64>) {
        let mut standing = self.standing();
        standing.handled.insert(place, (next, appended_ms));
        match appended_ms {
            Some(appended_ms) => _ = standing.since_look.entry(place).or_insert((next, appended_ms)),
            None => _ = standing.since_look.remove(&place),
        }
        drop(standing);
        self.moved();
    }

    /// Records whether an assignment of the group has not been acknowledged yet.
    pub(super) fn pending(&self, is_pending: bool) {
        let mut standing = self.standing();
        if is_pending {
            standing.pending_since.get_or_insert_with(Instant::now);
        } else {
            standing.pending_since = None;
        }
    }

    /// Reports the number of partitions that this member owns.
    pub(super) fn owns(&self, count: usize) {
        self.health().detail(self.name, &format!("{count} partitions"));
    }

    /// Removes a partition that this member no longer owns.
    pub(super) fn lost(&self, place: RawPartition) {
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

    /// Reports that a partition waits for an operator.
    pub(super) fn fault(&self, place: RawPartition, advice: String) {
        tracing::error!(advice, "a partition is blocked until an operator acts");
        self.standing().faults.insert((place.0.as_str(), place.1), advice);
        self.tell_faults();
    }

    fn tell_faults(&self) {
        let faults: Vec<String> = self.standing().faults.values().cloned().collect();
        metrics::gauge!("device_manager_normalizer_blocked_partitions", "subscription" => self.name)
            .set(u32::try_from(faults.len()).unwrap_or(u32::MAX));
        self.readiness.change(self.name, |report| report.faults = faults);
    }
}

#[cfg(test)]
mod tests {
    use schemas::format::RawTopic;

    use super::*;

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
        raw.readiness.change("raw", |report| report.partly = vec!["apply it".to_owned()]);
        assert_eq!(said(), (None, Some("raise it; apply it".to_owned())));
        uploads.waits(Some("Kafka is away"));
        assert_eq!(said(), (Some("Kafka is away".to_owned()), None));
        uploads.waits(None);
        raw.lost((RawTopic::Devices, 0));
        assert_eq!(said(), (None, Some("apply it".to_owned())));
        raw.readiness.change("raw", |report| report.partly.clear());
        assert_eq!(said(), (None, None));
    }
}
