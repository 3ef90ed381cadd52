//! `device-manager man`.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::error::CommandError;

/// Write the manual pages: device-manager.1, and one for each command, such as device-manager-trace.1.
#[derive(Args)]
#[command(after_help = "Example:
  device-manager man /usr/local/share/man/man1 && man device-manager-trace")]
pub struct ManCommand {
    /// The folder to write into. It is created if it does not exist.
    folder: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A page cannot be written.
pub fn run(args: &ManCommand, command: clap::Command) -> Result<ExitCode, CommandError> {
    fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(command, &args.folder))
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| CommandError::failed("writing a manual page", error))
}
