//! `device-manager catalogue check`, and the argument of every command that maps.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use catalogue::{Addition, CATALOGUE_FILE_BYTES_MAX, Extension};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{error::CommandError, output::Output};

/// The catalogue with which a command maps.
#[derive(Debug, Clone, Args)]
pub struct CatalogueArgs {
    /// A file that adds metrics, units, codes and spellings to the built-in catalogue; see docs/mapping-without-a-release.md. Every
    /// process that maps uses the same file. `device-manager catalogue check` checks it.
    #[arg(long, env = "CATALOGUE_FILE", value_name = "FILE")]
    catalogue_file: Option<PathBuf>,
}

impl CatalogueArgs {
    /// Returns the path of the file.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.catalogue_file.as_deref()
    }

    /// Makes this process use the catalogue. Must be called before the first lookup in it.
    ///
    /// # Errors
    /// [`CommandError`]: the file cannot be used, or the built-in catalogue is broken.
    pub(crate) fn install(&self) -> Result<(), CommandError> {
        if let Some(file) = &self.catalogue_file {
            catalogue::install(read(file)?).map_err(|error| CommandError::failed("installing the catalogue", error))?;
        }
        catalogue::check().map_err(|error| CommandError::failed("checking the catalogue", error))
    }
}

/// Check a catalogue file, and show what it adds to the built-in catalogue.
///
/// A catalogue file maps what `drift` reports, without a release. The checks are those of a process that starts with the file: units
/// of UCUM, exact conversions, and no contradiction to the built-in catalogue of this release. Run them again before an upgrade.
#[derive(Args)]
#[command(after_help = "Examples:
  device-manager catalogue check catalogue.toml
  device-manager catalogue check --json catalogue.toml | jq -r '.additions[] | select(.adds == \"spelling\").spelling'")]
pub struct CatalogueCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Check a file. Exit code 2 if it cannot be used; the reason names each entry with a fault, its line and the way out.
    Check {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// The catalogue file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// What `catalogue check` prints as JSON.
#[derive(Serialize)]
struct Checked<'e> {
    revision: i32,
    sha256: &'e str,
    additions: &'e [Addition],
}

/// Runs the command.
///
/// # Errors
/// The file cannot be used.
pub fn run(args: &CatalogueCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let Action::Check { json, file } = &args.action;
    let extension = read(file)?;
    let (revision, sha256) = (extension.file().revision(), extension.file().sha256());
    let additions = extension.additions();
    if *json {
        output.json(&Checked { revision, sha256, additions })?;
        return Ok(ExitCode::SUCCESS);
    }
    output.line(&format!("valid: revision {revision}, SHA-256 {sha256}"))?;
    output.line(match additions {
        [] => "it adds nothing to the built-in catalogue",
        _ => "it adds to the built-in catalogue:",
    })?;
    for addition in additions {
        output.line(&format!("  {addition}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<Extension, CommandError> {
    let usage = |error: &dyn std::fmt::Display| CommandError::usage(format!("{}: {error}", file.display()));
    // Opening a pipe would wait for a writer.
    if !fs::metadata(file).map_err(|error| usage(&error))?.is_file() {
        return Err(usage(&"this is not a file, but a folder, a pipe or a device"));
    }
    let limit = u64::try_from(CATALOGUE_FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(limit).read_to_string(&mut text));
    read.map_err(|error| usage(&error))?;
    Extension::parse(&text).map_err(|error| usage(&error))
}
