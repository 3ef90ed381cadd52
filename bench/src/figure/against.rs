//! Two builds of the same stage, in turn on the same machine: what a change costs.

use crate::{
    round::Rounds,
    table::{Limit, Row},
};

/// How much more processor time than the other build the one under test may take.
const CPU_RATIO_MAX: f64 = 1.10;

/// The line of one stage.
pub(super) fn row(stage: &str, rounds: &Rounds) -> Row {
    Row {
        ratio: rounds.cpu_ratio(),
        limit: Some(Limit::RatioAtMost(CPU_RATIO_MAX)),
        gate: "that of the stage's own figure, on both sides".to_owned(),
        note: "The ratio is that of the processor seconds that the two builds' processes took for as many items."
            .to_owned(),
        ..Row::compared(&format!("{stage}: this build against the other"), "items/s", rounds)
    }
}
