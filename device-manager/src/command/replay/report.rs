//! The report of a replay, which is written to a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use ::replay::{Diff, listed_changes, page};
use clap::Args;
use schemas::receipt::ReceiptKey;
use sqlx::PgPool;

use super::print;
use crate::{
    error::{CommandError, chain},
    output::remark,
};

#[derive(Args)]
pub(super) struct ReportArgs {
    /// Write the report to this file: as a page if its name ends with .html, otherwise as JSON with every reading that differs.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// The file of a report. It is opened before the work begins.
pub(super) struct ReportFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> ReportFile<'a> {
    /// Opens the file, if one is wanted. What it contains stays until the report is written.
    pub(super) fn open(args: &'a ReportArgs) -> Result<Option<Self>, CommandError> {
        let Some(path) = args.report.as_deref() else { return Ok(None) };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file =
            file.map_err(|error| CommandError::failed("opening the report", format!("{}: {error}", path.display())))?;
        Ok(Some(Self { path, file }))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        // Not every file has a length, such as /dev/stdout.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(text.as_bytes())
    }
}

/// Writes the report, if one is wanted.
pub(super) async fn write_report(
    file: Option<ReportFile<'_>>,
    diff: &Diff,
    pool: &PgPool,
    key: &ReceiptKey,
) -> Result<(), CommandError> {
    let Some(mut file) = file else { return Ok(()) };
    let again = |error: String| {
        let replay = diff.replay;
        CommandError::failed(
            "writing the report",
            format!("{error}; `device-manager replay show {replay} --report FILE` writes it again"),
        )
    };
    let is_page = file.path.extension().is_some_and(|end| end.eq_ignore_ascii_case("html"));
    let text = if is_page {
        page(diff)
    } else {
        let changes = listed_changes(&mut *pool.acquire().await?, diff.replay, key).await;
        let changes = changes.map_err(|error| again(chain(&error)))?;
        print::report(diff, &changes).map_err(|error| again(error.to_string()))?
    };
    file.write(&text).map_err(|error| again(error.to_string()))?;
    remark(&format!("the report is in {}", file.path.display()));
    Ok(())
}
