//! A child process that cannot outlive this process.
//!
//! `PR_SET_PDEATHSIG` would require unsafe code between fork and exec, and it acts on the end of the thread that forked, not of
//! the process. Instead, each child is started by a small shell script that forks a watcher and then execs the program. The
//! watcher reads from a pipe whose other end only this process holds. If it reads a line, the child has ended and the watcher
//! exits. If it reads the end of the file, this process has ended, for whatever reason, and the watcher ends the child. The
//! watcher is forked twice, so that it is not a child of the program: the postmaster treats the end of an unknown child as a
//! crashed backend.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::error::EmbeddedError;
use crate::error::io as io_error;
use crate::unprivileged::User;

/// `$1` is the signal for a graceful shutdown; the rest is the program. A program that does not end within 10 s is killed.
const SCRIPT: &str = r#"
signal=$1; shift
exec 3<&0 </dev/null
( (
    if read -r _ <&3; then exit 0; fi
    kill -s "$signal" $$
    tenths=0
    while kill -0 $$ && [ $tenths -lt 100 ]; do sleep 0.1; tenths=$((tenths + 1)); done
    kill -s KILL $$
) >/dev/null 2>&1 & )
exec 3<&-
exec "$@"
"#;

/// How long to wait for a child of an earlier run. Longer than the 10 s that the watcher waits.
const LEFTOVER_GRACE: Duration = Duration::from_secs(12);
const LOG_BYTES_MAX: u64 = 4 << 20;

/// How to run a program.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// The user to run as; `None` for the user of this process.
    pub(super) user: Option<User>,
    /// The signal for a graceful shutdown.
    pub(super) end_signal: Signal,
    /// How long the shutdown may take before the program is killed.
    pub(super) end_grace: Duration,
    pub(super) log: PathBuf,
    /// Identifies the process to the next run.
    pub(super) pid_file: PathBuf,
}

/// A program and its process, if it has been started.
pub(super) struct ChildProcess {
    program: Program,
    running: Mutex<Option<Arc<Running>>>,
}

struct Running {
    pid: Pid,
    /// This process's end of the watcher's pipe.
    watcher_pipe: Mutex<Option<ChildStdin>>,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl ChildProcess {
    pub(super) fn new(program: Program) -> Self {
        Self { program, running: Mutex::new(None) }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        let running = self.running()?;
        running.status.borrow().is_none().then(|| running.pid.as_raw_nonzero().get().unsigned_abs())
    }

    pub(super) fn start(&self) -> Result<(), EmbeddedError> {
        let running = self.program.spawn(&self.program.command)?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(running));
        Ok(())
    }

    /// Ends the child gracefully; kills it if that takes longer than the program's `end_grace`.
    pub(super) async fn stop(&self) {
        let Some(running) = self.running() else { return };
        running.signal(self.program.end_signal);
        if tokio::time::timeout(self.program.end_grace, running.wait()).await.is_err() {
            tracing::warn!(child = self.program.name, "the child did not end in time and is killed");
            running.signal(Signal::KILL);
            running.wait().await;
        }
        // A failure is harmless: the next run also compares the start time, and so detects that the process no longer exists.
        drop(std::fs::remove_file(&self.program.pid_file));
    }

    pub(super) fn pause(&self) {
        self.running().iter().for_each(|running| running.signal(Signal::STOP));
    }

    pub(super) fn resume(&self) {
        self.running().iter().for_each(|running| running.signal(Signal::CONT));
    }

    /// Waits for the end of the child; waits forever if none was started.
    pub(super) async fn wait_for_end(&self) -> EmbeddedError {
        match self.running() {
            Some(running) => self.program.end_error(running.wait().await),
            None => std::future::pending().await,
        }
    }

    /// Calls `ready` repeatedly until it returns true, the child ends, or `within` has passed.
    pub(super) async fn wait_until_ready<F, E>(&self, within: Duration, ready: F) -> Result<(), EmbeddedError>
    where
        F: AsyncFn() -> Result<bool, E>,
        EmbeddedError: From<E>,
    {
        let polling = async {
            while !ready().await? {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::select! {
            outcome = tokio::time::timeout(within, polling) => outcome.unwrap_or_else(|_| {
                Err(EmbeddedError::NotReady { name: self.program.name, within, log: self.program.log.clone() })
            }),
            error = self.wait_for_end() => Err(error),
        }
    }

    fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Program {
    /// Runs another command with the same log, user and watcher, and waits for its end.
    pub(super) async fn run(&self, command: &[String], within: Duration) -> Result<(), EmbeddedError> {
        let running = self.spawn(command)?;
        match tokio::time::timeout(within, running.wait()).await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.end_error(status)),
            Err(_) => Err(EmbeddedError::NotReady { name: self.name, within, log: self.log.clone() }),
        }
    }

    fn spawn(&self, command: &[String]) -> Result<Running, EmbeddedError> {
        let log = open_log(&self.log).map_err(io_error("write", &self.log))?;
        let also_log = log.try_clone().map_err(io_error("write", &self.log))?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, self.name, signal_name(self.end_signal)]).args(command);
        shell.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // A process group of its own: Ctrl-C in the terminal signals only this process, which then stops the children in order.
        shell.process_group(0).current_dir("/").stdin(Stdio::piped()).stdout(log).stderr(also_log);
        if let Some(user) = &self.user {
            shell.uid(user.uid).gid(user.gid);
        }
        let mut child = shell.spawn().map_err(io_error("run", Path::new("/bin/sh")))?;
        let watcher_pipe = child.stdin.take();
        let (report, status) = watch::channel(None);
        let pid = Pid::from_child(&child);
        if let Some(identity) = process_identity(pid) {
            std::fs::write(&self.pid_file, identity).map_err(io_error("write", &self.pid_file))?;
        }
        // A thread instead of a task: the child must not depend on a runtime, and each test has its own.
        std::thread::spawn(move || match child.wait() {
            Ok(status) => report.send_replace(Some(status)),
            Err(_) => None,
        });
        Ok(Running { pid, watcher_pipe: Mutex::new(watcher_pipe), status })
    }

    fn end_error(&self, status: ExitStatus) -> EmbeddedError {
        EmbeddedError::Ended { name: self.name, status, log: self.log.clone(), log_end: last_lines(&self.log) }
    }
}

impl Running {
    /// Sends a signal, unless the process has already been reaped: its id may then belong to another process.
    fn signal(&self, signal: Signal) {
        if self.status.borrow().is_none() {
            let _gone_meanwhile = kill_process(self.pid, signal);
        }
    }

    async fn wait(&self) -> ExitStatus {
        let mut status = self.status.clone();
        let ended = status.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        self.release_watcher();
        ended.unwrap_or_default()
    }

    fn release_watcher(&self) {
        if let Some(mut watcher_pipe) = self.watcher_pipe.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(watcher_pipe.write_all(b"ended\n"));
        }
    }
}

/// Waits for a child of an earlier run that was killed, and kills the child if it does not end in time.
pub(super) async fn wait_for_leftover(pid_file: PathBuf) {
    let Ok(identity) = std::fs::read_to_string(pid_file) else { return };
    let Some(pid) = identity.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) else { return };
    let gone = async {
        while process_identity(pid).as_deref() == Some(identity.as_str()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(LEFTOVER_GRACE, gone).await.is_err() {
        tracing::warn!(pid = pid.as_raw_nonzero(), "a child of an earlier run is still running and is killed");
        let _gone_meanwhile = kill_process(pid, Signal::KILL);
    }
}

fn signal_name(signal: Signal) -> &'static str {
    if signal == Signal::INT { "INT" } else { "TERM" }
}

/// Returns the process id and the start time, which together are unique. `None` if the process has ended or is a zombie.
fn process_identity(pid: Pid) -> Option<String> {
    let directory = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
    // The second field is the name in parentheses, which may itself contain spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // The main thread becomes a zombie while other threads may still be ending and still hold the process's sockets and locks.
    let is_zombie = matches!(fields.next()?, "Z" | "X") && std::fs::read_dir(directory.join("task")).ok()?.count() <= 1;
    let start = fields.nth(18)?;
    (!is_zombie).then(|| format!("{} {start}", pid.as_raw_nonzero()))
}

fn open_log(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).open(path)
}

fn last_lines(log: &Path) -> String {
    const BYTES: u64 = 4_096;
    const LINES: usize = 8;
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    let end = read().unwrap_or_default();
    let lines: Vec<&str> = end.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(LINES)).map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
