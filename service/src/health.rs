//! Whether the stages of a process work, and if not, what they wait for.
//!
//! A stage is ready, degraded or waiting. Degraded means that it works while something of it waits for an operator, such as one
//! partition with a record that nobody can read: restarting it would not help, so `/ready` stays 200. What changes is
//! logged here and nowhere else, so that no stage forgets to say that it works again.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// The health of all stages in a process; clones share it.
#[derive(Clone, Default)]
pub struct Health(Arc<RwLock<BTreeMap<&'static str, StageState>>>);

/// What a stage says of itself. It waits, or is degraded, or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageState {
    /// What the stage waits for; none when it works.
    pub waiting: Option<String>,
    /// What waits for an operator while the rest of the stage works.
    pub degraded: Option<String>,
    /// Facts worth showing, such as the group protocol.
    pub details: BTreeMap<&'static str, String>,
    /// Since when it waits, is degraded, or neither.
    since: Instant,
    /// Whether the log says that it waits.
    wait_is_logged: bool,
}

const STARTING: &str = "starting";

impl Health {
    /// No stage yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stage, which waits to be started.
    #[must_use]
    pub fn stage(&self, name: &'static str) -> StageHealth {
        let stage = StageHealth { health: self.clone(), name };
        stage.waiting(STARTING);
        stage
    }

    /// Whether there are stages, and none waits.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let stages = self.stages();
        !stages.is_empty() && stages.values().all(|stage| stage.waiting.is_none())
    }

    /// What every stage says.
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

/// One stage's handle on the health of its process.
#[derive(Clone)]
pub struct StageHealth {
    health: Health,
    name: &'static str,
}

impl StageHealth {
    /// The stage works.
    pub fn ready(&self) {
        self.say(None, None);
    }

    /// The stage works, but something of it waits for an operator: `reason` says what and what to do, without a value or a
    /// secret.
    pub fn degraded(&self, reason: &str) {
        self.say(None, Some(reason));
    }

    /// The stage waits. `reason` names the other side and the kind of fault, never a value or a secret.
    pub fn waiting(&self, reason: &str) {
        self.say(Some(reason), None);
    }

    /// A fact worth showing.
    pub fn detail(&self, name: &'static str, value: &str) {
        self.health.change(self.name, |stage| {
            stage.details.insert(name, value.to_owned());
        });
    }

    fn say(&self, waiting: Option<&str>, degraded: Option<&str>) {
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

    /// A stage that waits for one thing after the other has one outage; its start, which everybody expects, is none.
    fn log_wait(&self, reason: &str) {
        if reason != STARTING {
            tracing::warn!(stage = self.name, reason, "the stage waits");
        }
    }

    fn log_end(&self, was_logged: bool, lasted: Duration) {
        let stage = self.name;
        if was_logged {
            // To a tenth of a second: whoever reads the log needs no more.
            let waited_s = (lasted.as_secs_f64() * 10.0).round() / 10.0;
            tracing::info!(stage, waited_s, "the stage works again");
        } else {
            tracing::info!(stage, "the stage works");
        }
    }

    /// What waits for an operator is said each time it changes: it may have become more.
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
