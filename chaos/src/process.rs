//! The processes of the stages. One that ends without having been told to is started again, as an orchestrator would do.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio_util::task::AbortOnDropHandle;

use crate::{error::ChaosError, port::unused_port, wait::holds_within};

/// Runs a program, and kills it when the other end of its standard input is closed without a line: this process has ended then. The
/// watcher is forked twice, so that it is not a child of the program.
const SCRIPT: &str = r#"
exec 3<&0 </dev/null
( ( read -r _ <&3 || kill -s KILL $$ ) >/dev/null 2>&1 & )
exec 3<&-
exec "$@"
"#;
/// How often the processes are looked after.
const SUPERVISE_EVERY: Duration = Duration::from_millis(200);
/// How long a process that is told to stop may take.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// A stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The HTTP service for senders.
    Ingress,
    /// The mapping.
    Normalizer,
    /// The writer.
    Sink,
}

impl Stage {
    /// All stages, in the order of the data.
    pub const ALL: [Self; 3] = [Self::Ingress, Self::Normalizer, Self::Sink];

    /// The subcommand that runs the stage.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Normalizer => "normalizer",
            Self::Sink => "sink",
        }
    }
}

/// A process of a stage, by the stage and a number.
pub(crate) type Member = (Stage, usize);

/// The environment variables of a process beside those that every process has.
pub(crate) type Variables = Vec<(String, String)>;

struct Slot {
    child: Child,
    management_port: u16,
    /// Whether the process is started again when it ends.
    is_supervised: bool,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The process may have ended already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if let Some(mut watcher) = self.child.stdin.take() {
            let _gone = watcher.write_all(b"ended\n");
        }
    }
}

struct Table {
    slots: BTreeMap<Member, Slot>,
    /// What ended without having been told to, and what else must not happen.
    crashes: Vec<String>,
}

/// Builds the command of a member, which gets a port for its management.
pub(crate) type Recipe = Box<dyn Fn(Member, u16, &Variables) -> Command + Send + Sync>;

/// The processes of all stages.
pub(crate) struct Processes {
    table: Mutex<Table>,
    recipe: Recipe,
    logs: PathBuf,
}

impl Processes {
    pub(crate) fn new(recipe: Recipe, logs: PathBuf) -> Arc<Self> {
        Arc::new(Self { table: Mutex::new(Table { slots: BTreeMap::new(), crashes: Vec::new() }), recipe, logs })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after the processes until the handle is dropped.
    pub(crate) fn supervise(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        let processes = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(SUPERVISE_EVERY).await;
                for member in processes.take_crashed() {
                    if let Err(error) = processes.start(member) {
                        tracing::warn!(%error, stage = member.0.name(), "a process cannot be started again");
                    }
                }
            }
        }))
    }

    fn take_crashed(&self) -> Vec<Member> {
        let mut table = self.table();
        let mut crashed = Vec::new();
        for (member, slot) in &mut table.slots {
            if slot.is_supervised
                && let Ok(Some(status)) = slot.child.try_wait()
            {
                crashed.push((*member, format!("{} {} ended by itself: {status}", member.0.name(), member.1)));
            }
        }
        for (member, what) in &crashed {
            table.slots.remove(member);
            table.crashes.push(what.clone());
        }
        crashed.into_iter().map(|(member, _)| member).collect()
    }

    /// Whether a process reports that it works.
    pub(crate) async fn is_ready(&self, member: Member) -> bool {
        let port = self.table().slots.get(&member).map(|slot| slot.management_port);
        let Some(port) = port else { return false };
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/ready")).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// What ended without having been told to, and what else must not happen.
    pub(crate) fn crashes(&self) -> Vec<String> {
        self.table().crashes.clone()
    }

    /// Starts a process, also again.
    pub(crate) fn start(&self, member: Member) -> Result<(), ChaosError> {
        self.spawn(member, &Variables::new(), true)
    }

    /// Starts a process with variables of its own. If it ends by itself, it is started again without them.
    pub(crate) fn start_with(&self, member: Member, variables: &Variables) -> Result<(), ChaosError> {
        self.spawn(member, variables, true)
    }

    /// Starts a process that is expected to end by itself.
    pub(crate) fn start_unsupervised(&self, member: Member, variables: &Variables) -> Result<(), ChaosError> {
        self.spawn(member, variables, false)
    }

    fn spawn(&self, member: Member, variables: &Variables, is_supervised: bool) -> Result<(), ChaosError> {
        let path = self.logs.join(format!("{}-{}.log", member.0.name(), member.1));
        let log = File::options().create(true).append(true).open(&path).map_err(ChaosError::io(&path))?;
        let management_port = unused_port();
        let mut command = watched(&(self.recipe)(member, management_port, variables));
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        // The lock is held, so that nothing else starts the same member meanwhile.
        let mut table = self.table();
        table.slots.remove(&member);
        let child = command.spawn()?;
        table.slots.insert(member, Slot { child, management_port, is_supervised });
        Ok(())
    }

    /// The folder of the logs.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }

    /// Whether a process has loaded a library.
    pub(crate) fn has_loaded(&self, member: Member, library: &Path) -> bool {
        let Some(id) = self.table().slots.get(&member).map(|slot| slot.child.id()) else { return false };
        let maps = std::fs::read_to_string(format!("/proc/{id}/maps")).unwrap_or_default();
        library.to_str().is_some_and(|path| maps.contains(path))
    }

    /// Reports something that must not happen.
    pub(crate) fn complain(&self, what: String) {
        self.table().crashes.push(what);
    }

    /// Sends SIGKILL: the process flushes and closes nothing.
    pub(crate) fn kill(&self, member: Member) {
        let slot = self.table().slots.remove(&member);
        drop(slot);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, member: Member, signal: Signal) -> Result<(), ChaosError> {
        if let Some(slot) = self.table().slots.get(&member)
            && let Some(pid) = Pid::from_raw(i32::try_from(slot.child.id()).unwrap_or_default())
        {
            kill_process(pid, signal).map_err(std::io::Error::from)?;
        }
        Ok(())
    }

    /// From now on, the end of a process is expected, and it is not started again.
    pub(crate) fn expect_end(&self, member: Member) {
        if let Some(slot) = self.table().slots.get_mut(&member) {
            slot.is_supervised = false;
        }
    }

    /// Tells a process to stop, and waits for its end.
    pub(crate) async fn stop(&self, member: Member) -> Result<(), ChaosError> {
        self.expect_end(member);
        self.signal(member, Signal::TERM)?;
        self.wait_for_end(member).await;
        Ok(())
    }

    /// Waits for the end of a process that was told to stop. If it takes too long, the process is killed, which is reported as a
    /// crash.
    pub(crate) async fn wait_for_end(&self, member: Member) {
        if holds_within(STOPS_WITHIN, async || self.has_ended(member)).await.is_none() {
            let what = format!("{} {} did not stop within {} s", member.0.name(), member.1, STOPS_WITHIN.as_secs());
            self.complain(what);
        }
        self.kill(member);
    }

    /// Whether a process has ended by itself.
    pub(crate) fn has_ended(&self, member: Member) -> bool {
        match self.table().slots.get_mut(&member) {
            Some(slot) => matches!(slot.child.try_wait(), Ok(Some(_))),
            None => true,
        }
    }

    /// Kills all processes.
    pub(crate) fn kill_all(&self) {
        let slots = std::mem::take(&mut self.table().slots);
        drop(slots);
    }
}

/// The same command under the watcher.
fn watched(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", SCRIPT, "stage"]).arg(command.get_program()).args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    shell
}
