//! What a seed does. The same seed always means the same faults, whatever was run before it.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::fault::FaultKind;

/// How many faults a seed injects.
const FAULTS: usize = 4;

/// What is done for one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The seed, from which all else follows.
    pub seed: u64,
    /// The number of processes of each stage.
    pub per_stage: usize,
    /// Whether the consumer groups use the protocol `classic` instead of `consumer`.
    pub is_classic: bool,
    /// The faults, one round after the other. Those of one round are injected at the same time.
    pub rounds: Vec<Vec<FaultKind>>,
}

impl Plan {
    /// Returns the plan of a seed. Consecutive seeds go through all kinds of faults, again and again, in changing orders; so
    /// any 50 of them inject each kind several times. Odd seeds have one process for each stage, even ones three. Every second seed
    /// injects its last two faults at the same time, if they go together. Two seeds use one protocol of consumer groups, the next two the
    /// other one.
    #[must_use]
    pub fn of_seed(seed: u64, has_fail_points: bool) -> Self {
        let first = usize::try_from(seed.saturating_sub(1)).unwrap_or(usize::MAX).saturating_mul(FAULTS);
        let faults: Vec<FaultKind> =
            (first..first.saturating_add(FAULTS)).filter_map(|at| drawn(at, has_fail_points)).collect();
        let mut rounds: Vec<Vec<FaultKind>> = faults.iter().map(|fault| vec![*fault]).collect();
        if let [.., one, two] = faults.as_slice()
            && one.goes_with(*two)
            && StdRng::seed_from_u64(seed).random_bool(0.5)
        {
            rounds.truncate(FAULTS - 2);
            rounds.push(vec![*one, *two]);
        }
        Self { seed, per_stage: if seed.is_multiple_of(2) { 3 } else { 1 }, is_classic: seed % 4 > 1, rounds }
    }

    /// Leaves out the faults that cannot be injected on this machine. The others are the same as without this.
    #[must_use]
    pub fn without(mut self, is_left_out: impl Fn(FaultKind) -> bool) -> Self {
        self.rounds.iter_mut().for_each(|round| round.retain(|fault| !is_left_out(*fault)));
        self.rounds.retain(|round| !round.is_empty());
        self
    }

    /// A plan with given faults, one after the other.
    #[must_use]
    pub fn with_faults(seed: u64, per_stage: usize, faults: &[FaultKind]) -> Self {
        Self { seed, per_stage, is_classic: false, rounds: faults.iter().map(|fault| vec![*fault]).collect() }
    }
}

impl Plan {
    /// Whether a fault lets the broker answer late or not at all.
    pub(crate) fn disturbs_kafka(&self) -> bool {
        self.rounds.iter().flatten().any(|fault| fault.disturbs_kafka())
    }
}

/// The fault at a place of the endless sequence.
fn drawn(at: usize, has_fail_points: bool) -> Option<FaultKind> {
    let fail_points = if has_fail_points { &FaultKind::FAIL_POINTS[..] } else { &[] };
    let mut deck = [&FaultKind::PLAIN, fail_points].concat();
    let seeds = deck.len().div_ceil(FAULTS) | 1;
    let (cycle, place) = (at / (seeds * FAULTS), at % (seeds * FAULTS));
    // Two cycles have the same order, and a cycle is an odd number of seeds long: so each fault occurs at an odd and at an even seed.
    deck.shuffle(&mut StdRng::seed_from_u64(cycle as u64 / 2));
    // The last places of a cycle have the first faults again.
    deck.get(place % deck.len()).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn fifty_seeds_inject_each_fault_at_least_three_times_with_one_process_and_with_three() {
        let mut counts: BTreeMap<FaultKind, [u32; 2]> = BTreeMap::new();
        let mut pairs = 0;
        for seed in 1..=50 {
            let plan = Plan::of_seed(seed, true);
            pairs += plan.rounds.iter().filter(|round| round.len() > 1).count();
            for fault in plan.rounds.into_iter().flatten() {
                counts.entry(fault).or_default()[usize::from(plan.per_stage == 3)] += 1;
            }
        }
        assert_eq!(counts.len(), FaultKind::PLAIN.len() + FaultKind::FAIL_POINTS.len());
        let rare: Vec<_> = counts.iter().filter(|(_, [one, three])| one + three < 3).collect();
        assert!(rare.is_empty() && pairs > 5, "{pairs} pairs, {rare:?}");
        let one_only: Vec<_> = counts.iter().filter(|(_, counts)| counts.contains(&0)).collect();
        assert!(one_only.is_empty(), "{one_only:?}");
        assert_eq!(Plan::of_seed(7, true), Plan::of_seed(7, true));
    }
}
