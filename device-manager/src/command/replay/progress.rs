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
    let template = "{msg} {wide_bar} {pos} of {len} records, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    let mut reported = Instant::now();
    loop {
        tokio::time::sleep(REFRESH).await;
        let (read, total) = (progress.read.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
        bar.set_length(total);
        bar.set_position(read);
        if bar.is_hidden() && reported.elapsed() >= REPORT {
            let (rate, left) = (bar.per_sec(), HumanDuration(bar.eta()));
            remark(&format!("{what}: {read} of {total} records, {rate:.0} records/s, {left} left"));
            reported = Instant::now();
        }
    }
}
