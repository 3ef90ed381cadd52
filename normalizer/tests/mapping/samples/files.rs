//! The sample files in a folder beside the repository.

use std::collections::BTreeSet;

use normalizer::Normalized;
use schemas::{
    format::{Defaults, Format, RawTopic},
    raw::RecordKind,
};

use super::folder::folder;
use crate::record::{self, headers};

/// Normalizes a body as sent without parameters, except for the type and, for HealthKit, the defaults of the library that wrote
/// all samples of HealthKit's own JSON.
pub(super) fn normalized(topic: RawTopic, format: Format, body: &[u8], sample_type: Option<&str>) -> Normalized {
    let mut headers = headers(RecordKind::Payload(format), "samples");
    headers.sample_type = sample_type.map(str::to_owned);
    headers.defaults = (topic == RawTopic::HealthKit).then_some(Defaults::ReactNativeHealth);
    record::normalized(topic, headers, body, 7)
}

/// Reads a sample file that the table names.
pub(super) fn read(path: &str) -> Option<Vec<u8>> {
    let path = folder()?.join(path);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The names of the files in a folder of samples.
pub(super) fn names(path: &str, suffix: &str) -> Option<BTreeSet<String>> {
    let entries = std::fs::read_dir(folder()?.join(path)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    Some(names.filter(|name| name.ends_with(suffix)).collect())
}
