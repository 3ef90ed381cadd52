//! A child process that cannot outlive us.
//!
//! `PR_SET_PDEATHSIG` would need unsafe code between fork and exec, and it follows the thread that forked, not the process. So
//! each child is started by a small shell script that leaves a watcher behind and then becomes the program. The watcher
//! reads from a pipe whose other end only this process holds: a line means that all is well, the end of the file means that we
//! are gone, by whatever means, and it ends the child. The watcher is forked twice, so that it is not a child of the program
//! (the postmaster takes an unknown child that ends for a crashed backend).

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

/// `$1` is the signal for an orderly end; the rest is the program. What does not end by it within 10 s is killed.
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

/// Longer than the watcher gives an orphan.
const LEFTOVER_GRACE: Duration = Duration::from_secs(12);
const LOG_BYTES_MAX: u64 = 4 << 20;

/// How to run one program.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// Whom to run as, when not ourselves.
    pub(super) user: Option<User>,
    /// What asks it to end.
    pub(super) end_signal: Signal,
    /// How long it may take over that.
    pub(super) end_grace: Duration,
    pub(super) log: PathBuf,
    /// Says which process it was, to the next start.
    pub(super) pid_file: PathBuf,
}

/// A place for one child: empty, or with the process that runs.
pub(super) struct Slot {
    program: Program,
    running: Mutex<Option<Arc<Running>>>,
}

struct Running {
    pid: Pid,
    /// Our end of the watcher's pipe.
    lifeline: Mutex<Option<ChildStdin>>,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Slot {
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

    /// Ends it as its program asks for, and kills it when that takes too long.
    pub(super) async fn stop(&self) {
        let Some(running) = self.running() else { return };
        running.signal(self.program.end_signal);
        if tokio::time::timeout(self.program.end_grace, running.wait()).await.is_err() {
            tracing::warn!(child = self.program.name, "did not end in time and is killed");
            running.signal(Signal::KILL);
            running.wait().await;
        }
        // A mere leftover is told from ours by it, so it is no harm when it cannot be removed.
        drop(std::fs::remove_file(&self.program.pid_file));
    }

    pub(super) fn pause(&self) {
        self.running().iter().for_each(|running| running.signal(Signal::STOP));
    }

    pub(super) fn resume(&self) {
        self.running().iter().for_each(|running| running.signal(Signal::CONT));
    }

    /// Waits for the end of the child; for ever when there is none.
    pub(super) async fn ended(&self) -> EmbeddedError {
        match self.running() {
            Some(running) => self.program.ended(running.wait().await),
            None => std::future::pending().await,
        }
    }

    /// Runs `ready` again and again until it says yes, the child ends, or `within` is over.
    pub(super) async fn ready<F, E>(&self, within: Duration, ready: F) -> Result<(), EmbeddedError>
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
            error = self.ended() => Err(error),
        }
    }

    fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Program {
    /// Runs another command in its place (its log, its user, its watcher) to the end.
    pub(super) async fn run(&self, command: &[String], within: Duration) -> Result<(), EmbeddedError> {
        let running = self.spawn(command)?;
        match tokio::time::timeout(within, running.wait()).await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.ended(status)),
            Err(_) => Err(EmbeddedError::NotReady { name: self.name, within, log: self.log.clone() }),
        }
    }

    fn spawn(&self, command: &[String]) -> Result<Running, EmbeddedError> {
        let log = open_log(&self.log).map_err(io_error("write", &self.log))?;
        let also_log = log.try_clone().map_err(io_error("write", &self.log))?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, self.name, signal_name(self.end_signal)]).args(command);
        shell.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // A process group of its own: Ctrl-C at the terminal is for us, and we end the children in order.
        shell.process_group(0).current_dir("/").stdin(Stdio::piped()).stdout(log).stderr(also_log);
        if let Some(user) = &self.user {
            shell.uid(user.uid).gid(user.gid);
        }
        let mut child = shell.spawn().map_err(io_error("run", Path::new("/bin/sh")))?;
        let lifeline = child.stdin.take();
        let (report, status) = watch::channel(None);
        let pid = Pid::from_child(&child);
        if let Some(identity) = process_identity(pid) {
            std::fs::write(&self.pid_file, identity).map_err(io_error("write", &self.pid_file))?;
        }
        // A thread rather than a task: the child belongs to no runtime, and tests come with one each.
        std::thread::spawn(move || match child.wait() {
            Ok(status) => report.send_replace(Some(status)),
            Err(_) => None,
        });
        Ok(Running { pid, lifeline: Mutex::new(lifeline), status })
    }

    fn ended(&self, status: ExitStatus) -> EmbeddedError {
        EmbeddedError::Ended { name: self.name, status, log: self.log.clone(), log_end: end_of(&self.log) }
    }
}

impl Running {
    /// A process that was waited for is not signalled: its number may be somebody else's by now.
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
        if let Some(mut lifeline) = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(lifeline.write_all(b"ended\n"));
        }
    }
}

/// The child of a process that was killed may still be on its way out: wait for that, then help.
pub(super) async fn wait_for_leftover(pid_file: PathBuf) {
    let Ok(identity) = std::fs::read_to_string(pid_file) else { return };
    let Some(pid) = identity.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) else { return };
    let gone = async {
        while process_identity(pid).as_deref() == Some(identity.as_str()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(LEFTOVER_GRACE, gone).await.is_err() {
        tracing::warn!(pid = pid.as_raw_nonzero(), "a child of an earlier run still lives and is killed");
        let _gone_meanwhile = kill_process(pid, Signal::KILL);
    }
}

fn signal_name(signal: Signal) -> &'static str {
    if signal == Signal::INT { "INT" } else { "TERM" }
}

/// The number and the start time: together they are never used again. `None` once it is gone or a mere zombie.
fn process_identity(pid: Pid) -> Option<String> {
    let directory = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
    // The second field is the name in brackets, which may itself hold blanks and brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // The first thread is a zombie while others still die, and with them the sockets and locks they share.
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

fn end_of(log: &Path) -> String {
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
