//! The result of a seed, as a line of JSON, and the summary of several.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::ChaosError,
    fault::target::Hit,
    oracle::compare::{Breach, Finding},
};

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// The kind.
    pub fault: String,
    /// What it was injected together with.
    pub together_with: Vec<String>,
    /// What it hit.
    #[serde(flatten)]
    pub hit: Hit,
    /// From the end of the fault until fresh payloads had passed through all partitions; `None` if they did not in the stated time.
    pub recovery_ms: Option<u64>,
}

/// The result of one seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The commit of the build.
    pub commit: String,
    /// The seed.
    pub seed: u64,
    /// The number of processes of each stage.
    pub per_stage: usize,
    /// Whether the consumer groups used the protocol `classic`.
    #[serde(default)]
    pub is_classic: bool,
    /// How long the seed took.
    pub seconds: u64,
    /// The number of requests that were answered with a receipt.
    pub accepted: usize,
    /// The number of items in all raw records.
    pub items: u64,
    /// The number of raw records beyond one for each request, which only a fault of Kafka explains.
    #[serde(default)]
    pub repeated: u32,
    /// The faults, in order.
    pub faults: Vec<Injected>,
    /// The broken promises.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The number of findings of a kind.
    #[must_use]
    pub fn count(&self, breach: Breach) -> usize {
        self.findings.iter().filter(|finding| finding.breach == breach).count()
    }

    /// Whether no promise was broken.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Adds a report to a file of results.
///
/// # Errors
/// [`ChaosError`]: the file cannot be written.
pub fn append(path: &Path, report: &Report) -> Result<(), ChaosError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(ChaosError::io(folder))?;
    }
    let mut file = File::options().create(true).append(true).open(path).map_err(ChaosError::io(path))?;
    let line = serde_json::to_string(report)?;
    writeln!(file, "{line}").map_err(ChaosError::io(path))
}

/// Reads a file of results; a file that does not exist has none.
///
/// # Errors
/// [`ChaosError`]: the file cannot be read.
pub fn read(path: &Path) -> Result<Vec<Report>, ChaosError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).map_err(ChaosError::io(path))?;
    // The last line may have been cut off when a run was killed. Its seed is run again.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// What happened with one kind of fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// How often it was injected.
    pub count: usize,
    /// How often with three processes for each stage.
    pub with_three: usize,
    /// How often it hit work in flight.
    pub hits: usize,
    /// The findings of the seeds in which it occurred: lost, duplicated, unexplained.
    pub findings: [usize; 3],
    /// The longest recovery, in milliseconds.
    pub recovery_ms_max: u64,
    /// How often the installation did not recover in the stated time.
    pub not_recovered: usize,
}

/// Returns the summary of reports, by kind of fault.
#[must_use]
pub fn summary(reports: &[Report]) -> BTreeMap<String, Line> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for report in reports {
        let findings = [Breach::Lost, Breach::Duplicated, Breach::Unexplained].map(|breach| report.count(breach));
        for injected in &report.faults {
            let line = lines.entry(injected.fault.clone()).or_default();
            line.count += 1;
            line.with_three += usize::from(report.per_stage > 1);
            line.hits += usize::from(injected.hit.is_hit);
            line.recovery_ms_max = line.recovery_ms_max.max(injected.recovery_ms.unwrap_or_default());
            line.not_recovered += usize::from(injected.recovery_ms.is_none());
            for (sum, count) in line.findings.iter_mut().zip(findings) {
                *sum += count;
            }
        }
    }
    lines
}

/// Returns the summary as the lines of a table.
#[must_use]
pub fn table(reports: &[Report]) -> Vec<String> {
    let mut table = vec![
        "| fault | injected | with 3 processes | hits | lost | duplicated | unexplained | longest recovery |"
            .to_owned(),
        "|---|---:|---:|---:|---:|---:|---:|---:|".to_owned(),
    ];
    for (fault, line) in summary(reports) {
        let Line { count, with_three, hits, findings: [lost, duplicated, unexplained], .. } = line;
        let recovery = match line.not_recovered {
            0 => format!("{}.{} s", line.recovery_ms_max / 1_000, line.recovery_ms_max % 1_000 / 100),
            times => format!("{times} times none"),
        };
        table.push(format!(
            "| {fault} | {count} | {with_three} | {hits} | {lost} | {duplicated} | {unexplained} | {recovery} |"
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(seed: u64, recovery_ms: Option<u64>, findings: Vec<Finding>) -> Report {
        Report {
            commit: "c".to_owned(),
            seed,
            per_stage: 1,
            is_classic: false,
            seconds: 1,
            accepted: 1,
            items: 1,
            repeated: 0,
            faults: vec![Injected {
                fault: "kill-sink".to_owned(),
                together_with: Vec::new(),
                hit: Hit { in_flight: 2, is_hit: true },
                recovery_ms,
            }],
            findings,
        }
    }

    #[test]
    fn results_are_read_back_and_summed_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results/c.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let finding = Finding { breach: Breach::Lost, what: "a row".to_owned() };
        let reports = [report(1, Some(1_500), Vec::new()), report(2, None, vec![finding])];
        for report in &reports {
            append(&path, report).unwrap();
        }
        fs::write(&path, format!("{}{{\"commit\":\"c\",", fs::read_to_string(&path).unwrap())).unwrap();
        assert_eq!(read(&path).unwrap(), reports, "the line that was cut off is ignored");
        let line = &summary(&reports)["kill-sink"];
        assert_eq!((line.count, line.hits, line.findings, line.not_recovered), (2, 2, [1, 0, 0], 1));
        assert!(table(&reports)[2].contains("| 1 times none |"));
    }
}
