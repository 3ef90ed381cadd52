//! Combines the states of the lanes into the health of the stage.

use std::sync::{Arc, Mutex, PoisonError};

use service::health::StageHealth;

use crate::item::Lane;

/// The state of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The lane works.
    Works,
    /// The lane works, but some of its partitions wait for an operator.
    Degraded(String),
    /// All partitions of the lane wait for an operator.
    Held(String),
    /// The lane waits, for the reason given.
    Waits(String),
}

/// The part of one lane in the health of the stage.
#[derive(Clone)]
pub(crate) struct LaneHealth {
    health: StageHealth,
    verdicts: Arc<Mutex<[Verdict; Lane::ALL.len()]>>,
    lane: Lane,
}

impl LaneHealth {
    /// Returns one for each lane. All lanes begin in the state "starting".
    pub(crate) fn of(health: &StageHealth) -> [Self; Lane::ALL.len()] {
        let verdicts = Arc::new(Mutex::new(Lane::ALL.map(|_| Verdict::Waits("starting".to_owned()))));
        Lane::ALL.map(|lane| Self { health: health.clone(), verdicts: verdicts.clone(), lane })
    }

    pub(crate) fn say(&self, verdict: Verdict) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Lane::ALL.into_iter().position(|lane| lane == self.lane);
        if let Some(known) = place.and_then(|place| verdicts.get_mut(place)) {
            *known = verdict;
        }
        match joined(&*verdicts) {
            Verdict::Works => self.health.ready(),
            Verdict::Degraded(reason) => self.health.degraded(&reason),
            Verdict::Held(reason) => self.health.waiting(&format!("all partitions wait: {reason}")),
            Verdict::Waits(reason) => self.health.waiting(&reason),
        }
    }

    /// Sets a detail of the stage; `name` has one entry for each lane.
    pub(crate) fn detail(&self, name: [&'static str; Lane::ALL.len()], value: &str) {
        let lanes = Lane::ALL.into_iter().zip(name);
        lanes.filter(|(lane, _)| *lane == self.lane).for_each(|(_, name)| self.health.detail(name, value));
    }
}

/// Combines the states of the lanes. A reason to wait takes precedence, and is listed once. The stage is held only if no lane
/// works.
fn joined(verdicts: &[Verdict]) -> Verdict {
    let (mut waits, mut held, mut works) = (Vec::new(), Vec::new(), false);
    for verdict in verdicts {
        match verdict {
            Verdict::Works => works = true,
            Verdict::Degraded(reason) => {
                works = true;
                held.push(reason.as_str());
            }
            Verdict::Held(reason) => held.push(reason),
            Verdict::Waits(reason) if !waits.contains(&reason.as_str()) => waits.push(reason),
            Verdict::Waits(_) => {}
        }
    }
    match (waits.is_empty(), held.is_empty(), works) {
        (false, ..) => Verdict::Waits(waits.join("; ")),
        (true, true, _) => Verdict::Works,
        (true, false, true) => Verdict::Degraded(held.join("; ")),
        (true, false, false) => Verdict::Held(held.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, joined};

    #[test]
    fn a_stage_waits_for_any_lane_and_is_held_only_as_a_whole() {
        let held = || Verdict::Held("a".to_owned());
        let degraded = || Verdict::Degraded("a".to_owned());
        let waits = || Verdict::Waits("b".to_owned());
        for (lanes, stage) in [
            ([Verdict::Works, Verdict::Works], Verdict::Works),
            ([Verdict::Works, held()], degraded()),
            ([held(), Verdict::Works], degraded()),
            ([degraded(), Verdict::Works], degraded()),
            ([degraded(), held()], Verdict::Degraded("a; a".to_owned())),
            ([held(), held()], Verdict::Held("a; a".to_owned())),
            ([held(), waits()], waits()),
            ([waits(), waits()], waits()),
            ([Verdict::Works, waits()], waits()),
        ] {
            assert_eq!(joined(&lanes), stage, "{lanes:?}");
        }
    }
}
