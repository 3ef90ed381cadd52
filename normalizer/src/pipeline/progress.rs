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
    acknowledgements: AtomicU64,
    state: Mutex<SubscriptionState>,
    recheck_requested: Notify,
}

/// The state of a subscription.
#[derive(Clone, Default)]
pub(super) struct SubscriptionState {
    /// By partition, the offset of the first record that is not yet mapped and acknowledged, and the append time of the record
    /// before it if it is known, in milliseconds since the epoch.
    pub(super) handled: HashMap<RawPartition, (i64, Option<i64>)>,
    /// By partition, the entry of `handled` at the last observation, or the first one after it. The next observation checks
    /// these records.
    pub(super) handled_before: Suspects,
    pub(super) faults: BTreeMap<(&'static str, i32), String>,
    pub(super) pending_since: Option<Instant>,
    /// Set if a log may have been recreated. Contains the records to check.
    recheck: Option<Suspects>,
}

/// Records by which to check whether a log is still the same: the offset after the record, and when the record was appended, in
/// milliseconds since the epoch.
pub(super) type Suspects = HashMap<RawPartition, (i64, i64)>;

impl Progress {
    pub(super) fn new(name: &'static str, readiness: Readiness) -> Arc<Self> {
        Arc::new(Self {
            name,
            readiness,
            acknowledgements: AtomicU64::new(0),
            state: Mutex::default(),
            recheck_requested: Notify::new(),
        })
    }

    pub(super) fn health(&self) -> &StageHealth {
        &self.readiness.health
    }

    /// Locks and returns the state of the subscription.
    pub(super) fn state(&self) -> MutexGuard<'_, SubscriptionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what the loop waits for; `None` if it does not wait.
    pub(super) fn report_wait(&self, reason: Option<&str>) {
        self.readiness.change(self.name, |report| report.loop_wait = reason.map(str::to_owned));
    }

    /// Takes the request to check the logs of this member's partitions again. Each request is returned once.
    pub(super) fn take_recheck_request(&self) -> Option<Suspects> {
        self.state().recheck.take()
    }

    /// Requests that the logs are checked again.
    pub(super) fn request_recheck(&self, suspects: Suspects) {
        self.state().recheck.get_or_insert_default().extend(suspects);
        self.recheck_requested.notify_one();
    }

    /// Waits until a recheck is requested.
    pub(super) async fn recheck_requested(&self) {
        self.recheck_requested.notified().await;
    }

    /// Counts an acknowledgement.
    pub(super) fn count_acknowledgement(&self) {
        self.acknowledgements.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of acknowledgements so far.
    pub(super) fn acknowledgements(&self) -> u64 {
        self.acknowledgements.load(Ordering::Relaxed)
    }

    /// Reports what was observed from outside the loop: why nothing makes progress, and what is wrong while the rest works.
    pub(super) fn report_observation(&self, wait: Option<String>, partial_faults: Vec<String>) {
        self.readiness
            .change(self.name, |report| (report.observed_wait, report.partial_faults) = (wait, partial_faults));
    }

    /// Records that all records of a partition before `next` are handled. `appended_ms` is the append time of the last of them.
    pub(super) fn report_handled(&self, raw_partition: RawPartition, next: i64, appended_ms: Option<i64>) {
        let mut state = self.state();
        state.handled.insert(raw_partition, (next, appended_ms));
        match appended_ms {
            Some(appended_ms) => _ = state.handled_before.entry(raw_partition).or_insert((next, appended_ms)),
            None => _ = state.handled_before.remove(&raw_partition),
        }
        drop(state);
        self.count_acknowledgement();
    }

    /// Records whether an assignment of the group has not been acknowledged yet.
    pub(super) fn report_pending_assignment(&self, is_pending: bool) {
        let mut state = self.state();
        if is_pending {
            state.pending_since.get_or_insert_with(Instant::now);
        } else {
            state.pending_since = None;
        }
    }

    /// Reports the number of partitions that this member owns.
    pub(super) fn report_owned(&self, count: usize) {
        self.health().detail(self.name, &format!("{count} partitions"));
    }

    /// Removes a partition that this member no longer owns.
    pub(super) fn report_revoked(&self, raw_partition: RawPartition) {
        let mut state = self.state();
        state.handled.remove(&raw_partition);
        let count = state.handled.len();
        let was_blocked = state.faults.remove(&(raw_partition.0.as_str(), raw_partition.1)).is_some();
        drop(state);
        self.report_owned(count);
        if was_blocked {
            self.publish_faults();
        }
    }

    /// Reports that a partition waits for an operator.
    pub(super) fn report_blocked(&self, raw_partition: RawPartition, advice: String) {
        tracing::error!(advice, "a partition is blocked until an operator acts");
        self.state().faults.insert((raw_partition.0.as_str(), raw_partition.1), advice);
        self.publish_faults();
    }

    fn publish_faults(&self) {
        let faults: Vec<String> = self.state().faults.values().cloned().collect();
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
    fn a_recheck_request_is_taken_once() {
        let health = service::health::Health::new();
        let progress = Progress::new("raw", Readiness::new(health.stage("normalizer")));
        assert_eq!(progress.take_recheck_request(), None);
        progress.request_recheck(Suspects::new());
        assert_eq!(progress.take_recheck_request(), Some(Suspects::new()));
        assert_eq!(progress.take_recheck_request(), None);
    }

    #[test]
    fn what_an_operator_must_do_is_reported_while_the_rest_works() {
        let health = service::health::Health::new();
        let readiness = Readiness::new(health.stage("normalizer"));
        let [raw, uploads] = ["raw", "uploads"].map(|name| Progress::new(name, readiness.clone()));
        let reported = || {
            let state = health.stages()["normalizer"].clone();
            (state.waiting, state.degraded)
        };
        raw.report_wait(None);
        assert_eq!(reported(), (None, None));
        raw.report_handled((RawTopic::Devices, 0), 1, None);
        raw.report_blocked((RawTopic::Devices, 0), "raise it".to_owned());
        assert_eq!(reported(), (None, Some("raise it".to_owned())));
        raw.readiness.change("raw", |report| report.partial_faults = vec!["apply it".to_owned()]);
        assert_eq!(reported(), (None, Some("raise it; apply it".to_owned())));
        uploads.report_wait(Some("Kafka is away"));
        assert_eq!(reported(), (Some("Kafka is away".to_owned()), None));
        uploads.report_wait(None);
        raw.report_revoked((RawTopic::Devices, 0));
        assert_eq!(reported(), (None, Some("apply it".to_owned())));
        raw.readiness.change("raw", |report| report.partial_faults.clear());
        assert_eq!(reported(), (None, None));
    }
}
