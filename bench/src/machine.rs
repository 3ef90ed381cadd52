//! The machine: its description, and whether other processes use it.

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep};

/// The machine counts as idle while less than this share of its cores is busy.
const IDLE_BELOW: f64 = 0.08;

/// Waits until the machine is idle, at most `limit`. Returns the share of its cores that was busy at the last check.
pub(crate) async fn until_idle(limit: Duration) -> f64 {
    let deadline = Instant::now() + limit;
    loop {
        let busy = busy_share(Duration::from_secs(1)).await;
        if busy < IDLE_BELOW || Instant::now() > deadline {
            return busy;
        }
    }
}

async fn busy_share(span: Duration) -> f64 {
    let before = jiffies();
    sleep(span).await;
    let after = jiffies();
    match (before, after) {
        (Some((idle_before, all_before)), Some((idle_after, all_after))) if all_after > all_before => {
            1.0 - (idle_after - idle_before) as f64 / (all_after - all_before) as f64
        }
        _ => 0.0,
    }
}

/// Returns the idle jiffies and all jiffies since boot. Waiting for the disk counts as idle.
fn jiffies() -> Option<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    Some((fields.get(3)? + fields.get(4)?, fields.iter().take(8).sum()))
}

/// Returns cores, memory and kernel in one line.
pub(crate) fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {model}, {memory} of memory, Linux {}", kernel.trim())
}

fn line_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
