use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::version::MappedBy;
use sink::outcome_runs::{RecordOutcome, Run, merge};

fn outcome(readings: i32, mapping: i32) -> RecordOutcome {
    let mapped_by = MappedBy { mapping, ..MappedBy::default() };
    RecordOutcome { items: readings, readings, commands: 0, rejections: 0, mapped_by }
}

fn expand(runs: &[Run]) -> BTreeMap<i64, RecordOutcome> {
    runs.iter().flat_map(|run| (run.first..=run.last).map(|offset| (offset, run.outcome))).collect()
}

#[test]
fn a_thousand_equal_outcomes_are_one_row() {
    let new = (0..1000).map(|offset| (offset, outcome(1, 1))).collect();
    assert_eq!(merge(&[], &new), vec![Run { first: 0, last: 999, outcome: outcome(1, 1) }]);
}

#[test]
fn an_outcome_of_the_same_mapping_does_not_replace_the_stored_one() {
    let stored = [Run { first: 0, last: 4, outcome: outcome(1, 1) }];
    assert_eq!(merge(&stored, &BTreeMap::from([(2, outcome(2, 1))])), stored);
    assert_eq!(merge(&stored, &BTreeMap::from([(2, outcome(2, 2))])).len(), 3);
}

proptest! {
    #[test]
    fn any_batches_in_any_order_keep_the_highest_mapping_of_each_record(
        batches in prop::collection::vec(prop::collection::btree_map(0_i64..40, (0_i32..3, 1_i32..4), 0..15), 0..8)
    ) {
        let mut stored = Vec::new();
        let mut wanted: BTreeMap<i64, i32> = BTreeMap::new();
        for batch in &batches {
            let new = batch.iter().map(|(offset, (readings, mapping))| (*offset, outcome(*readings, *mapping))).collect();
            stored = merge(&stored, &new);
            for (offset, (_, mapping)) in batch {
                let known = wanted.entry(*offset).or_insert(*mapping);
                *known = (*known).max(*mapping);
            }
        }
        let kept: BTreeMap<i64, i32> =
            expand(&stored).into_iter().map(|(offset, outcome)| (offset, outcome.mapped_by.mapping)).collect();
        prop_assert_eq!(kept, wanted);
        for pair in stored.windows(2) {
            prop_assert!(pair[0].last < pair[1].first);
            prop_assert!(pair[0].last + 1 < pair[1].first || pair[0].outcome != pair[1].outcome);
        }
    }
}
