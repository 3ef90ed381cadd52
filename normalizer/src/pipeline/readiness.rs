//! The readiness of the stage, as `/ready` reports it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use service::health::StageHealth;

/// The health of the stage, combined from the reports of all subscriptions.
#[derive(Clone)]
pub(super) struct Readiness {
    pub(super) health: StageHealth,
    reports: Arc<Mutex<BTreeMap<&'static str, Report>>>,
}

/// The report of one subscription.
#[derive(Default)]
pub(super) struct Report {
    /// What its loop waits for.
    pub(super) loop_wait: Option<String>,
    /// Why nothing makes progress, as observed from outside the loop.
    pub(super) observed_wait: Option<String>,
    /// What an operator must do.
    pub(super) faults: Vec<String>,
    /// What is wrong while the rest works, as observed from outside the loop.
    pub(super) partial_faults: Vec<String>,
}

impl Readiness {
    pub(super) fn new(health: StageHealth) -> Self {
        Self { health, reports: Arc::default() }
    }

    /// Changes the report of a subscription, and updates the health of the stage from all reports.
    pub(super) fn change(&self, name: &'static str, change: impl FnOnce(&mut Report)) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        change(reports.entry(name).or_default());
        let joined = |texts: Vec<&String>| texts.into_iter().map(String::as_str).collect::<Vec<_>>().join("; ");
        let mut waits: Vec<&String> =
            reports.values().flat_map(|report| report.loop_wait.iter().chain(&report.observed_wait)).collect();
        // Two subscriptions often wait for the same thing.
        waits.sort_unstable();
        waits.dedup();
        let faults: Vec<&String> =
            reports.values().flat_map(|report| report.faults.iter().chain(&report.partial_faults)).collect();
        if !waits.is_empty() {
            self.health.waiting(&joined(waits));
        } else if !faults.is_empty() {
            self.health.degraded(&joined(faults));
        } else {
            self.health.ready();
        }
    }
}
