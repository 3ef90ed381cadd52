//! The health of the stages of a process, and what they wait for.
//!
//! A stage is ready, degraded or waiting. Degraded means that the stage works while a part of it waits for an operator, for
//! example one partition with a record that cannot be read. Restarting the process would not help, so `/ready` stays 200. State
//! changes are logged in this module only, so that no stage forgets to log its recovery.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// The health of all stages in a process; clones share it.
#[derive(Clone, Default)]
pub struct Health(Arc<RwLock<BTreeMap<&'static str, StageState>>>);

/// The state of one stage: waiting, degraded, or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageState {
    /// What the stage waits for; `None` while it works.
    pub waiting: Option<String>,
    /// What waits for an operator while the rest of the stage works.
    pub degraded: Option<String>,
    /// Facts shown on `/ready`, such as the group protocol.
    pub details: BTreeMap<&'static str, String>,
    /// When the stage started to wait, became degraded, or became ready.
    since: Instant,
    /// Whether the current wait has been logged.
    wait_is_logged: bool,
}

const STARTING: &str = "starting";

impl Health {
    /// Creates the health of a process without stages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stage. It is waiting (`starting`) until it reports another state.
    #[must_use]
    pub fn stage(&self, name: &'static str) -> StageHealth {
        let stage = StageHealth { health: self.clone(), name };
        stage.waiting(STARTING);
        stage
    }

    /// Returns whether there is at least one stage and no stage is waiting.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let stages = self.stages();
        !stages.is_empty() && stages.values().all(|stage| stage.waiting.is_none())
    }

    /// Returns the state of every stage.
    #[must_use]
    pub fn stages(&self) -> BTreeMap<&'static str, StageState> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change<R>(&self, name: &'static str, change: impl FnOnce(&mut StageState) -> R) -> R {
        let mut stages = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(stages.entry(name).or_insert_with(|| StageState {
            waiting: None,
            degraded: None,
            details: BTreeMap::new(),
            since: Instant::now(),
            wait_is_logged: false,
        }))
    }
}

/// The handle through which a stage reports its health.
#[derive(Clone)]
pub struct StageHealth {
    health: Health,
    name: &'static str,
}

impl StageHealth {
    /// Reports that the stage works.
    pub fn ready(&self) {
        self.set(None, None);
    }

    /// Reports that the stage works while a part of it waits for an operator. `reason` says which part and what the operator
    /// should do; it contains no health data and no secret.
    pub fn degraded(&self, reason: &str) {
        self.set(None, Some(reason));
    }

    /// Reports that the stage waits. `reason` names the service that it waits for and the kind of fault; it contains no health
    /// data and no secret.
    pub fn waiting(&self, reason: &str) {
        self.set(Some(reason), None);
    }

    /// Sets a fact that `/ready` shows.
    pub fn detail(&self, name: &'static str, value: &str) {
        self.health.change(self.name, |stage| {
            stage.details.insert(name, value.to_owned());
        });
    }

    fn set(&self, waiting: Option<&str>, degraded: Option<&str>) {
        let before = self.health.change(self.name, |stage| {
            if stage.waiting.as_deref() == waiting && stage.degraded.as_deref() == degraded {
                return None;
            }
            let since = stage.since;
            if stage.waiting.is_some() != waiting.is_some() || stage.degraded.is_some() != degraded.is_some() {
                stage.since = Instant::now();
            }
            let was_waiting = std::mem::replace(&mut stage.waiting, waiting.map(str::to_owned));
            let was_degraded = std::mem::replace(&mut stage.degraded, degraded.map(str::to_owned));
            let was_logged = stage.wait_is_logged;
            stage.wait_is_logged = waiting.is_some_and(|reason| was_logged || reason != STARTING);
            Some((was_waiting.is_some(), was_logged, was_degraded, since.elapsed()))
        });
        if let Some((was_waiting, was_logged, was_degraded, lasted)) = before {
            match waiting {
                Some(reason) if !was_logged => self.log_wait(reason),
                None if was_waiting => self.log_end(was_logged, lasted),
                Some(_) | None => {}
            }
            self.log_degraded(was_degraded.as_deref(), degraded, waiting.is_none());
        }
    }

    /// Logs the start of an outage. Consecutive reasons belong to one outage and are logged once. The normal wait at startup is
    /// not logged.
    fn log_wait(&self, reason: &str) {
        if reason != STARTING {
            tracing::warn!(stage = self.name, reason, "the stage waits");
        }
    }

    fn log_end(&self, was_logged: bool, lasted: Duration) {
        let stage = self.name;
        if was_logged {
            // One decimal is precise enough for a reader of the log.
            let waited_s = (lasted.as_secs_f64() * 10.0).round() / 10.0;
            tracing::info!(stage, waited_s, "the stage works again");
        } else {
            tracing::info!(stage, "the stage works");
        }
    }

    /// Logs the reason for being degraded each time it changes, since it may list further partitions.
    fn log_degraded(&self, was: Option<&str>, is: Option<&str>, works: bool) {
        let stage = self.name;
        match (was, is) {
            (_, Some(reason)) => {
                if was != is {
                    tracing::warn!(stage, reason, "a part of the stage waits for an operator");
                }
            }
            (Some(_), None) if works => tracing::info!(stage, "nothing waits for an operator any more"),
            (None | Some(_), None) => {}
        }
    }
}
