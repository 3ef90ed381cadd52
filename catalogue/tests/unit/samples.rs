//! The payloads of others that lie beside the repository. The tests of the normalizer take this file too.

use std::{io::Write as _, path::PathBuf};

/// The samples' folder, if it is there.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/samples");
    if !folder.is_dir() {
        // Past the capture of the tests' output: who runs them shall see it.
        let (thread, mut stderr) = (std::thread::current(), std::io::stderr());
        writeln!(stderr, "skipped {}: no ../shared/samples", thread.name().unwrap_or("a test")).unwrap();
        return None;
    }
    Some(folder)
}
