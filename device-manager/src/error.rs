//! Why a command failed, and the exit code for it.

use std::{error::Error, fmt::Display, process::ExitCode};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The arguments, the environment, or a file that they name cannot be used: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The work failed: exit code 1. The cause is the source of the error.
    #[error("{what}")]
    Failed {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Standard output cannot be written, for example because the disk is full: exit code 1.
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

impl CommandError {
    /// An error about arguments or an environment that cannot be used.
    pub fn usage(error: impl Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// An error about work that failed.
    pub fn failed(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { what, source: source.into() }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed { .. } | Self::Output(_) => ExitCode::from(1),
        }
    }
}

/// Formats an error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = next.source();
    }
    line
}
