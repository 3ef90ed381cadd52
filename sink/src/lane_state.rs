//! Combines the states of the lanes into the health of the stage.

use std::sync::{Arc, Mutex, PoisonError};

use service::health::StageHealth;

use crate::item::Lane;

/// The state of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LaneState {
    /// The lane works.
    Working,
    /// The lane works, but some of its partitions wait for an operator.
    Degraded(String),
    /// All partitions of the lane wait for an operator.
    Blocked(String),
    /// The lane waits, for the reason given.
    Waiting(String),
}

/// The part of one lane in the health of the stage.
#[derive(Clone)]
pub(crate) struct LaneHealth {
    health: StageHealth,
    states: Arc<Mutex<[LaneState; Lane::ALL.len()]>>,
    lane: Lane,
}

impl LaneHealth {
    /// Returns one for each lane. All lanes begin in the state "starting".
    pub(crate) fn for_each_lane(health: &StageHealth) -> [Self; Lane::ALL.len()] {
        let states = Arc::new(Mutex::new(Lane::ALL.map(|_| LaneState::Waiting("starting".to_owned()))));
        Lane::ALL.map(|lane| Self { health: health.clone(), states: states.clone(), lane })
    }

    pub(crate) fn report(&self, state: LaneState) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let index = Lane::ALL.into_iter().position(|lane| lane == self.lane);
        if let Some(known) = index.and_then(|index| states.get_mut(index)) {
            *known = state;
        }
        match combined(&*states) {
            LaneState::Working => self.health.ready(),
            LaneState::Degraded(reason) => self.health.degraded(&reason),
            LaneState::Blocked(reason) => self.health.waiting(&format!("all partitions wait: {reason}")),
            LaneState::Waiting(reason) => self.health.waiting(&reason),
        }
    }

    /// Sets a detail of the stage; `name` has one entry for each lane.
    pub(crate) fn set_detail(&self, name: [&'static str; Lane::ALL.len()], value: &str) {
        let lanes = Lane::ALL.into_iter().zip(name);
        lanes.filter(|(lane, _)| *lane == self.lane).for_each(|(_, name)| self.health.detail(name, value));
    }
}

/// Combines the states of the lanes. A reason to wait takes precedence, and is listed once. The stage is blocked only if no lane
/// works.
fn combined(states: &[LaneState]) -> LaneState {
    let (mut waiting, mut blocked, mut is_working) = (Vec::new(), Vec::new(), false);
    for state in states {
        match state {
            LaneState::Working => is_working = true,
            LaneState::Degraded(reason) => {
                is_working = true;
                blocked.push(reason.as_str());
            }
            LaneState::Blocked(reason) => blocked.push(reason),
            LaneState::Waiting(reason) if !waiting.contains(&reason.as_str()) => waiting.push(reason),
            LaneState::Waiting(_) => {}
        }
    }
    match (waiting.is_empty(), blocked.is_empty(), is_working) {
        (false, ..) => LaneState::Waiting(waiting.join("; ")),
        (true, true, _) => LaneState::Working,
        (true, false, true) => LaneState::Degraded(blocked.join("; ")),
        (true, false, false) => LaneState::Blocked(blocked.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{LaneState, combined};

    #[test]
    fn a_stage_waits_if_any_lane_waits_and_is_blocked_if_all_lanes_are() {
        let blocked = || LaneState::Blocked("a".to_owned());
        let degraded = || LaneState::Degraded("a".to_owned());
        let waiting = || LaneState::Waiting("b".to_owned());
        for (lanes, stage) in [
            ([LaneState::Working, LaneState::Working], LaneState::Working),
            ([LaneState::Working, blocked()], degraded()),
            ([blocked(), LaneState::Working], degraded()),
            ([degraded(), LaneState::Working], degraded()),
            ([degraded(), blocked()], LaneState::Degraded("a; a".to_owned())),
            ([blocked(), blocked()], LaneState::Blocked("a; a".to_owned())),
            ([blocked(), waiting()], waiting()),
            ([waiting(), waiting()], waiting()),
            ([LaneState::Working, waiting()], waiting()),
        ] {
            assert_eq!(combined(&lanes), stage, "{lanes:?}");
        }
    }
}
