//! The progress of a replay on standard error.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use ::replay::Progress;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::output::remark;

/// How often the progress is updated.
const REFRESH: Duration = Duration::from_millis(200);
/// How often the progress is reported if standard error is not a terminal.
const REPORT: Duration = Duration::from_secs(30);

/// Shows the progress until it is aborted: as a bar on a terminal, otherwise as lines.
pub(in crate::command) async fn show(what: &'static str, progress: Arc<Progress>) {
    let bar = ProgressBar::new(0);
    let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let reading = style("{msg} {wide_bar} {pos} of {len} records, {per_sec}, {eta} left");
    let waiting = style("{msg}");
    let mut reported = Instant::now();
    loop {
        tokio::time::sleep(REFRESH).await;
        let (read, total) = (progress.read.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
        bar.set_length(total);
        bar.set_position(read);
        let pause = pause(what, (read, total), progress.waits_for_sinks.load(Ordering::Relaxed));
        bar.set_style(if pause.is_some() { waiting.clone() } else { reading.clone() });
        bar.set_message(pause.clone().unwrap_or_else(|| what.to_owned()));
        if bar.is_hidden() && reported.elapsed() >= REPORT {
            let (rate, left) = (bar.per_sec(), HumanDuration(bar.eta()));
            remark(
                &pause
                    .unwrap_or_else(|| format!("{what}: {read} of {total} records, {rate:.0} records/s, {left} left")),
            );
            reported = Instant::now();
        }
    }
}

/// What is done while no record is read; `None` while records are read.
fn pause(what: &str, (read, total): (u64, u64), waits_for_sinks: bool) -> Option<String> {
    match (total, waits_for_sinks) {
        (0, true) => Some(format!("{what}: waiting until the sinks have written the events that are on their topics")),
        (0, false) => Some(format!("{what}: looking for the records")),
        (_, true) if read >= total => Some(format!("{what}: all {total} records are read; waiting for the sinks")),
        (_, false) if read >= total => Some(format!("{what}: all {total} records are read; asking Postgres")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_named_and_has_no_rate() {
        for (records, waits, says) in [
            ((0, 0), false, Some("comparing: looking for the records")),
            ((0, 0), true, Some("comparing: waiting until the sinks have written the events that are on their topics")),
            ((0, 9), false, None),
            ((8, 9), true, None),
            ((9, 9), true, Some("comparing: all 9 records are read; waiting for the sinks")),
            ((9, 9), false, Some("comparing: all 9 records are read; asking Postgres")),
        ] {
            assert_eq!(pause("comparing", records, waits).as_deref(), says);
        }
    }
}
