//! The binary `device-manager`.

use std::{io::Write, process::ExitCode, time::Duration};

use clap::FromArgMatches;
use device_manager::{
    cli::{self, Cli, variables_of},
    error::{CommandError, chain},
    output::remark,
};
use tokio::runtime::Runtime;

/// Messages are allocated on one thread and freed on another all day: glibc's allocator took a fifth of the ingress's time, and
/// kept much more memory than was in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What it was built from: set by `make` and by the Dockerfile; a plain `cargo build` does without. Read here and not in the
/// library, so that a commit does not rebuild more than this file.
const COMMIT: Option<&str> = option_env!("GIT_COMMIT");

/// How long what was asked of a broker or a database may go on when the work is done. Nobody waits for the answer any more.
const LEFT_BEHIND: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let matches = cli::command().version(version()).try_get_matches();
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_or_else(|error| refuse(&error));
    run(cli).unwrap_or_else(|error| {
        remark(&chain(&error));
        error.exit_code()
    })
}

/// Says what is wrong with the arguments, or shows the help that was asked for.
fn refuse(error: &clap::Error) -> ! {
    // Nothing can be done when standard error is closed.
    let _closed = error.print();
    for line in variables_of(error) {
        let _closed = writeln!(std::io::stderr(), "\n{line}");
    }
    std::process::exit(error.exit_code())
}

fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    let runtime = Runtime::new().map_err(|error| CommandError::failed("starting threads", error))?;
    let ended = runtime.block_on(cli.run());
    runtime.shutdown_timeout(LEFT_BEHIND);
    ended
}

/// clap wants a text that lives as long as the program; this one does.
fn version() -> &'static str {
    match COMMIT {
        Some(commit) if !commit.is_empty() => format!("{} ({commit})", env!("CARGO_PKG_VERSION")).leak(),
        _ => env!("CARGO_PKG_VERSION"),
    }
}
