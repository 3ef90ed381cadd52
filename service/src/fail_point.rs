//! Steps of the delivery at which a process ends itself, for fault injection. Only builds with the feature `fail-points` have them.

use std::sync::Once;

use fail::FailScenario;

static SCENARIO: Once = Once::new();

/// Marks a step. If the variable `FAILPOINTS` configures it, such as `sink-prepared=20*off->return`, the process ends here as by
/// SIGKILL: it flushes and closes nothing.
pub fn pass(step: &str) {
    // The scenario lasts as long as the process.
    SCENARIO.call_once(|| std::mem::forget(FailScenario::setup()));
    fail::fail_point!(step, |_| std::process::abort());
}
