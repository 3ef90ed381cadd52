//! `device-manager completions`.

use std::process::ExitCode;

use clap::Args;
use clap_complete::{Shell, generate};

use crate::{error::CommandError, output::Output};

/// Print a completion script for a shell.
#[derive(Args)]
#[command(after_help = "Examples:
  device-manager completions bash > /usr/share/bash-completion/completions/device-manager
  device-manager completions zsh > /usr/share/zsh/site-functions/_device-manager
  device-manager completions fish > ~/.config/fish/completions/device-manager.fish")]
pub struct CompletionsCommand {
    /// The shell.
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    args: &CompletionsCommand,
    mut command: clap::Command,
    output: &mut Output,
) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "device-manager", &mut script);
    for line in String::from_utf8_lossy(&script).lines() {
        output.line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}
