//! Whether the stages of a process work, and if not, what they wait for.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// The health of all stages in a process; clones share it.
#[derive(Clone, Default)]
pub struct Health(Arc<RwLock<BTreeMap<&'static str, StageState>>>);

/// What a stage says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageState {
    /// What the stage waits for; none when it works.
    pub waiting: Option<String>,
    /// Facts worth showing, such as the group protocol.
    pub details: BTreeMap<&'static str, String>,
}

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
        stage.waiting("starting");
        stage
    }

    /// Whether there are stages, and every one works.
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

    fn change(&self, name: &'static str, change: impl FnOnce(&mut StageState)) {
        let mut stages = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(stages.entry(name).or_insert_with(|| StageState { waiting: None, details: BTreeMap::new() }));
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
        self.health.change(self.name, |stage| stage.waiting = None);
    }

    /// The stage waits. `reason` names the other side and the kind of fault, never a value or a secret.
    pub fn waiting(&self, reason: &str) {
        self.health.change(self.name, |stage| stage.waiting = Some(reason.to_owned()));
    }

    /// A fact worth showing.
    pub fn detail(&self, name: &'static str, value: &str) {
        self.health.change(self.name, |stage| {
            stage.details.insert(name, value.to_owned());
        });
    }
}
