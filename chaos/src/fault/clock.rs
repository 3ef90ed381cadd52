//! Steps of the wall clock of one process, by the library libfaketime. The monotonic clock is right throughout. A process works while
//! its clock is ahead, and ends by itself when its clock is set back.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rand::rngs::StdRng;

use super::target::{Hit, Target};
use crate::{
    error::ChaosError,
    process::{Member, Variables},
    recovery::recovery,
    wait::{holds_within, until},
};

/// What is missing, and how to get it.
pub const HOW_TO_GET: &str =
    "they require libfaketime and a C compiler, `cc` (Debian: apt-get install faketime gcc libc6-dev)";
/// What libfaketime needs beside it in a process that uses jemalloc and librdkafka.
const SYMBOLS: &str = include_str!("clock/symbols.c");
/// The variant for processes with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// The clock is right, then far ahead, then far behind the true time.
const STEPS: [&str; 3] = ["+0", "+5h", "-5h"];
/// How long a clock is wrong at least.
const WRONG: Duration = Duration::from_secs(3);
/// In which time fresh payloads must pass although a clock is ahead.
const PASSES_WITHIN: Duration = Duration::from_secs(30);
/// In which time a process must end when its clock is set back.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Whether clocks can be stepped on this machine.
#[must_use]
pub fn is_available() -> bool {
    let has_compiler = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("cc").is_file()));
    has_compiler && library().is_some()
}

/// The path of libfaketime, where packages install it.
fn library() -> Option<PathBuf> {
    // Debian has a folder for each architecture.
    let of_architectures = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = of_architectures.chain(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
    folders.map(|folder| folder.join(LIBRARY)).find(|path| path.is_file())
}

/// Restarts a process with a clock of its own, lets the clock step, and restarts the process with the usual clock.
pub(super) async fn step(target: &Target<'_>, member: Member, dice: &mut StdRng) -> Result<Hit, ChaosError> {
    let (installation, processes) = (target.installation, &target.installation.processes);
    let library = library().ok_or_else(|| ChaosError::Missing(HOW_TO_GET))?;
    let symbols = compile_symbols(processes.logs())?;
    let file = processes.logs().join(format!("clock-{}-{}", member.0.name(), member.1));
    let [right, ahead, behind] = STEPS;
    set(&file, right)?;
    processes.stop(member).await?;
    processes.start_with(member, &variables(&[&library, &symbols], &file))?;
    until("a process with a clock of its own is ready", async || processes.is_ready(member).await).await?;
    let is_loaded = processes.has_loaded(member, &library);
    let of_member = format!("the clock of {} {}", member.0.name(), member.1);
    let forward = target.strike_stage(member.0, || set(&file, ahead)).await?;
    let (passes, ()) =
        tokio::join!(recovery(installation, target.sender, dice, PASSES_WITHIN), tokio::time::sleep(WRONG));
    if passes.is_none() {
        processes.complain(format!("no fresh payload passes within {PASSES_WITHIN:?} while {of_member} is ahead"));
    }
    processes.expect_end(member);
    let back = target.strike_stage(member.0, || set(&file, behind)).await?;
    if holds_within(ENDS_WITHIN, async || processes.has_ended(member)).await.is_none() {
        processes.complain(format!("the process has not ended {ENDS_WITHIN:?} after {of_member} was set back"));
    }
    processes.kill(member);
    processes.start(member)?;
    Ok(Hit { in_flight: forward.in_flight.max(back.in_flight), is_hit: is_loaded && forward.is_hit && back.is_hit })
}

/// Compiles the library with [`SYMBOLS`].
fn compile_symbols(folder: &Path) -> Result<PathBuf, ChaosError> {
    let [library, source, versions] = ["symbols.so", "symbols.c", "symbols.map"].map(|name| folder.join(name));
    fs::write(&source, SYMBOLS).map_err(ChaosError::io(&source))?;
    fs::write(&versions, "GLIBC_2.2 { };").map_err(ChaosError::io(&versions))?;
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O1", "-pthread", "-o"]).arg(&library).arg(&source);
    command.arg(format!("-Wl,--version-script={}", versions.display()));
    let output = command.output().map_err(|_| ChaosError::Missing(HOW_TO_GET))?;
    if output.status.success() {
        return Ok(library);
    }
    Err(ChaosError::Command { name: "cc", said: String::from_utf8_lossy(&output.stderr).into_owned() })
}

fn variables(libraries: &[&Path], file: &Path) -> Variables {
    let libraries: Vec<String> = libraries.iter().map(|path| path.display().to_string()).collect();
    [
        ("LD_PRELOAD", libraries.join(" ")),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Sets the clock to an offset from the true time. The process never reads half a file, because it is renamed.
fn set(file: &Path, offset: &str) -> Result<(), ChaosError> {
    let next = file.with_extension("next");
    let write = || -> io::Result<()> {
        fs::write(&next, format!("{offset}\n"))?;
        fs::rename(&next, file)
    };
    write().map_err(ChaosError::io(file))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// `.ci/setup` installs the library.
    #[test]
    fn a_process_reads_the_clock_that_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let library = library().expect(HOW_TO_GET);
        let symbols = compile_symbols(folder.path()).unwrap();
        for (offset, hours) in STEPS.into_iter().zip([0, 5, -5]) {
            set(&file, offset).unwrap();
            let output =
                Command::new("date").arg("+%s").envs(variables(&[&library, &symbols], &file)).output().unwrap();
            let said: i64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let away = said - i64::try_from(now).unwrap() - hours * 3_600;
            assert!(away.abs() < 60, "{offset}: {away} s");
        }
    }
}
