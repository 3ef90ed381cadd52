//! Who runs an operator's command.

use clap::Args;

use crate::error::CommandError;

/// Who runs the command.
#[derive(Args)]
pub(crate) struct OperatorArgs {
    /// Who runs the command, as it is recorded. By default the user of the operating system.
    #[arg(long, value_parser = name)]
    operator: Option<String>,
}

fn name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
        return Err("1 to 200 characters, none of them a control character");
    }
    Ok(name.to_owned())
}

impl OperatorArgs {
    /// Returns the name to record.
    ///
    /// # Errors
    /// The operating system does not know the user, and no name is given.
    pub(crate) fn name(&self) -> Result<String, CommandError> {
        let of_system = || {
            let name = whoami::fallible::username();
            name.map_err(|error| CommandError::usage(format!("name the operator with --operator ({error})")))
        };
        self.operator.clone().map_or_else(of_system, Ok)
    }
}
