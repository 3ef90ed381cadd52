//! Child processes, and their resource usage from /proc.

use std::{ffi::OsStr, fs, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::Result;

const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A process that is measured. It is killed when this value is dropped.
pub(crate) struct Process {
    child: Child,
    pid: u32,
}

/// The resource usage of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// The user and system time of all threads.
    pub(crate) cpu_seconds: f64,
    /// The peak resident memory (`VmHWM`).
    pub(crate) peak_rss_mib: f64,
    /// The current resident memory (`VmRSS`).
    pub(crate) rss_mib: f64,
}

impl Process {
    /// Starts `program`. Its output is appended to the file `log`.
    pub(crate) fn start(
        program: &Path,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Result<Self> {
        let log = fs::File::options().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .args(args)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let pid = child.id().ok_or("the process ended at once")?;
        Ok(Self { child, pid })
    }

    /// Returns the usage until now.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let ticks = cpu_ticks(&stat).ok_or("/proc/…/stat has another form")?;
        let mib = |name| kib(&status, name).map(|kib| kib / 1024.0).ok_or("/proc/…/status has another form");
        Ok(Usage {
            cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            peak_rss_mib: mib("VmHWM:")?,
            rss_mib: mib("VmRSS:")?,
        })
    }

    /// Fails if the process has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("the measured process ended: {status}").into()),
            None => Ok(()),
        }
    }

    /// Returns whether the process has ended with success. Fails if it ended otherwise.
    pub(crate) fn has_succeeded(&mut self) -> Result<bool> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(format!("the measured process ended: {status}").into()),
        }
    }

    /// Waits until `condition` holds. Fails if the process ends or `limit` passes before; `what` describes the condition.
    pub(crate) async fn until(&mut self, what: &str, limit: Duration, condition: impl AsyncFn() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !condition().await {
            self.alive()?;
            if Instant::now() > deadline {
                return Err(format!("{what}: not within {} s", limit.as_secs()).into());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Sends SIGTERM and waits for the end. Fails, after SIGKILL, if that takes longer than [`STOP_LIMIT`].
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            self.child.kill().await?;
            return Err("the measured process did not end after SIGTERM".into());
        }
        Ok(())
    }
}

/// Returns the sum of `utime` and `stime` in /proc/PID/stat. The name of the process before them may contain spaces and brackets,
/// so the fields are counted from the last closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_after_a_process_name_with_spaces_and_brackets() {
        let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0";
        assert_eq!(cpu_ticks(stat), Some(100));
    }

    #[test]
    fn memory_is_found_by_its_name() {
        assert_eq!(kib("VmPeak:\t 9 kB\nVmHWM:\t  2048 kB\n", "VmHWM:"), Some(2048.0));
    }
}
