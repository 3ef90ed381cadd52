//! The binary `device-manager`.

use std::{io::Write, process::ExitCode, time::Duration};

use clap::FromArgMatches;
use device_manager::{
    cli::{self, Cli, variables_of},
    error::{CommandError, chain},
    output::remark,
};
use tokio::runtime::Runtime;

/// Messages are allocated on one thread and freed on another. With glibc's allocator this took a fifth of the ingress's
/// time, and the process held much more memory than it used.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The commit that the binary was built from. `make` and the Dockerfile set it; a plain `cargo build` does not. It is read
/// here and not in the library, so that a new commit rebuilds only this file.
const COMMIT: Option<&str> = option_env!("GIT_COMMIT");

/// How long requests to a broker or a database may continue after the work is done. Nothing waits for their answers any
/// more.
const LEFT_BEHIND: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let matches = cli::command().version(version()).try_get_matches();
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_or_else(|error| refuse(&error));
    run(cli).unwrap_or_else(|error| {
        remark(&chain(&error));
        error.exit_code()
    })
}

/// Prints what is wrong with the arguments, or the help that was requested, and exits.
fn refuse(error: &clap::Error) -> ! {
    // If standard error is closed, nothing can be printed.
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

/// Returns the version. clap requires a text that lives as long as the program, so this one is leaked.
fn version() -> &'static str {
    match COMMIT {
        Some(commit) if !commit.is_empty() => format!("{} ({commit})", env!("CARGO_PKG_VERSION")).leak(),
        _ => env!("CARGO_PKG_VERSION"),
    }
}
