//! Sample payloads of third parties, in a folder next to the repository. The tests of the normalizer include this file too.

use std::{io::Write as _, path::PathBuf};

/// Returns the folder with the samples, if it exists.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/samples");
    if !folder.is_dir() {
        // Written directly to stderr, because the output of a test is captured and this line must be visible.
        let (thread, mut stderr) = (std::thread::current(), std::io::stderr());
        writeln!(stderr, "skipped {}: no ../shared/samples", thread.name().unwrap_or("a test")).unwrap();
        return None;
    }
    Some(folder)
}
