//! Checks every sample file against a reviewed table. A line of `tests/samples.tsv` contains the path and the SHA-256 of the
//! file, the format and the type that it is sent with, and the outcome. `UPDATE_SAMPLES=1` rewrites the outcomes, which must be
//! reviewed before they are committed.
//!
//! An outcome consists of the number of readings, the number of rejections by reason, and the first digits of the SHA-256 over
//! all of them as JSON. The hash pins each value, unit, time and id without quoting the file.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use normalizer::json_lines;
use schemas::format::{Format, Provider};
use sha2::{Digest as _, Sha256};

use super::{files::normalized, folder::folder};
use crate::record;

/// One line of the table.
struct Line {
    path: String,
    sha256: String,
    /// `provider/format`, or `-` for a file that is not a payload.
    sent_as: String,
    /// The `type` parameter of the request, or `-`.
    sample_type: String,
    outcome: String,
}

fn table() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples.tsv")
}

fn lines() -> Vec<Line> {
    let text = fs::read_to_string(table()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [path, sha256, sent_as, sample_type, outcome] =
            line.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        Line { path, sha256, sent_as, sample_type, outcome }
    });
    lines.collect()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn outcome(line: &Line, body: &[u8]) -> String {
    let Some((provider, format)) = line.sent_as.split_once('/') else { return "no payload".to_owned() };
    let (provider, format) = (Provider::parse(provider).unwrap(), Format::parse(format).unwrap());
    assert!(provider.formats().contains(&format), "{}", line.path);
    let sample_type = Some(line.sample_type.as_str()).filter(|text| *text != "-");
    let found = normalized(provider.raw_topic(format), format, body, sample_type);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in record::reasons(&found) {
        *reasons.entry(reason.as_str()).or_default() += 1;
    }
    let mut text = format!("{} readings", found.readings.len());
    for (reason, count) in reasons {
        write!(text, ", {count} {reason}").unwrap();
    }
    let all: String = json_lines(&found).map(|value| value.to_string()).collect();
    write!(text, "; {}", &hex(all.as_bytes())[..16]).unwrap();
    text
}

#[test]
fn each_file_has_the_outcome_in_the_table() {
    let Some(folder) = folder() else { return };
    let mut lines = lines();
    for line in &mut lines {
        let body = fs::read(folder.join(&line.path)).unwrap_or_else(|error| panic!("{}: {error}", line.path));
        let (sha256, outcome) = (hex(&body), outcome(line, &body));
        if std::env::var_os("UPDATE_SAMPLES").is_some() {
            (line.sha256, line.outcome) = (sha256, outcome);
            continue;
        }
        assert_eq!(sha256, line.sha256, "{} is not the file that was reviewed", line.path);
        assert_eq!(outcome, line.outcome, "{}", line.path);
    }
    if std::env::var_os("UPDATE_SAMPLES").is_some() {
        let mut text = "# path\tsha256\tsent as\ttype\toutcome\n".to_owned();
        for Line { path, sha256, sent_as, sample_type, outcome } in &lines {
            writeln!(text, "{path}\t{sha256}\t{sent_as}\t{sample_type}\t{outcome}").unwrap();
        }
        fs::write(table(), text).unwrap();
    }
}

#[test]
fn no_file_is_missing_from_the_table() {
    fn walk(folder: &Path, below: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{below}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{path}/"), found);
            } else {
                found.push(path);
            }
        }
    }
    let Some(folder) = folder() else { return };
    let mut found = Vec::new();
    walk(&folder, "", &mut found);
    found.sort();
    let written: Vec<String> = lines().into_iter().map(|line| line.path).collect();
    assert_eq!(found, written);
}
