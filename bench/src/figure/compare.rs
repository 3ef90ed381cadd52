//! Two builds of the same stage, measured in turn on the same machine: the cost of a change.

use crate::{
    round::Rounds,
    table::{Limit, Row},
};

/// The limit of the ratio of processor time: the build under test divided by the other build.
const CPU_RATIO_MAX: f64 = 1.10;

/// Returns the row of one stage.
pub(super) fn row(stage: &str, rounds: &Rounds) -> Row {
    Row {
        ratio: rounds.cpu_ratio(),
        limit: Some(Limit::RatioAtMost(CPU_RATIO_MAX)),
        gate: "that of the stage's own figure, on both sides".to_owned(),
        note: "The ratio is that of the processor seconds per item of the two builds' processes.".to_owned(),
        ..Row::compared(&format!("{stage}: this build against the other"), "items/s", rounds)
    }
}
