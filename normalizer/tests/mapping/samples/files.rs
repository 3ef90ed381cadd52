//! The samples beside the repository.

use std::{collections::BTreeSet, io::Write as _, path::PathBuf};

use normalizer::Normalized;
use schemas::{
    format::{Format, RawTopic},
    raw::Kind,
};

use crate::record::{self, headers};

/// The samples' folder, if it is there.
pub(super) fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/samples");
    if !folder.is_dir() {
        // Past the capture of the tests' output: who runs them shall see it.
        let (thread, mut stderr) = (std::thread::current(), std::io::stderr());
        writeln!(stderr, "skipped {}: no ../shared/samples", thread.name().unwrap_or("a test")).unwrap();
        return None;
    }
    Some(folder)
}

/// What comes of a body that a sender without any parameters sends, but for the type.
pub(super) fn normalized(topic: RawTopic, format: Format, body: &[u8], sample_type: Option<&str>) -> Normalized {
    let mut headers = headers(Kind::Payload(format), "samples");
    headers.sample_type = sample_type.map(str::to_owned);
    record::normalized(topic, headers, body, 7)
}

/// Reads a sample that the table names.
pub(super) fn read(path: &str) -> Option<Vec<u8>> {
    let path = folder()?.join(path);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The names of the files in a folder of the samples.
pub(super) fn names(path: &str, suffix: &str) -> Option<BTreeSet<String>> {
    let entries = std::fs::read_dir(folder()?.join(path)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    Some(names.filter(|name| name.ends_with(suffix)).collect())
}
