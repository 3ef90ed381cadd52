//! Compares what must be stored with what is stored. A pure function.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    event::{Assignment, Command},
    format::RawTopic,
    receipt::RawPosition,
    version::Appended,
};
use serde::{Deserialize, Serialize};
use sink::fold::{DeviceCommand, fold};
use uuid::Uuid;

use super::{
    expected::{Counts, Expected, ExpectedReading, Item, row_of},
    stored::{Holding, Stored, StoredRow},
};

/// In which way the installation broke its promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breach {
    /// Something accepted is not stored.
    Lost,
    /// Something is stored more than once.
    Duplicated,
    /// Something is stored that nothing explains, or in another way than it must be.
    Unexplained,
}

/// A broken promise. The text names positions and ids, and no health data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The kind.
    pub breach: Breach,
    /// What was found.
    pub what: String,
}

/// The findings so far.
#[derive(Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn lost(&mut self, what: String) {
        self.0.push(Finding { breach: Breach::Lost, what });
    }

    pub(crate) fn duplicated(&mut self, what: String) {
        self.0.push(Finding { breach: Breach::Duplicated, what });
    }

    pub(crate) fn unexplained(&mut self, what: String) {
        self.0.push(Finding { breach: Breach::Unexplained, what });
    }
}

/// Returns all differences between what must be stored and what is stored.
pub(crate) fn compare(expected: &Expected, stored: &Stored) -> Vec<Finding> {
    let mut findings = Findings::default();
    compare_readings(expected, stored, &mut findings);
    compare_values(expected, stored, &mut findings);
    compare_letters(expected, stored, &mut findings);
    compare_outcomes(expected, stored, &mut findings);
    compare_commands(expected, stored, &mut findings);
    compare_documents(expected, stored, &mut findings);
    findings.0
}

fn at(item: &Item) -> String {
    format!("{} item {}", item.raw, item.item)
}

/// The rows that must be in `readings` and in `reading_versions`, and the duplicates.
fn compare_readings(expected: &Expected, stored: &Stored, findings: &mut Findings) {
    let (mut current, mut archived) = (BTreeSet::new(), BTreeSet::new());
    let mut duplicates: BTreeSet<(Uuid, Item)> = BTreeSet::new();
    for (reading_id, reading) in &expected.readings {
        let current_content = reading.current().map(|(content, _)| content);
        for (content, kept) in &reading.contents {
            let row = StoredRow { reading_id: *reading_id, content: *content, at: row_of(&kept.version) };
            if current_content == Some(*content) {
                current.insert(row)
            } else {
                archived.insert(row)
            };
        }
        duplicates.extend(reading.duplicates().into_iter().map(|item| (*reading_id, item)));
    }
    for (name, expected_rows, stored_rows) in
        [("readings", current, &stored.readings), ("reading_versions", archived, &stored.versions)]
    {
        let stored_rows: BTreeSet<StoredRow> = stored_rows.iter().copied().collect();
        for row in expected_rows.difference(&stored_rows) {
            let by_content = |other: &&StoredRow| (other.reading_id, other.content) == (row.reading_id, row.content);
            let what = format!("{name} has no row of {} ({})", row.reading_id, at(&row.at));
            match stored.readings.iter().chain(&stored.versions).find(by_content) {
                Some(_) => findings.unexplained(format!("{what}; the content is stored elsewhere or of another item")),
                None => findings.lost(what),
            }
        }
        for row in stored_rows.difference(&expected_rows) {
            let what = format!("{name} has a row of {} ({})", row.reading_id, at(&row.at));
            let known = expected.readings.get(&row.reading_id);
            match known.and_then(|reading: &ExpectedReading| reading.contents.get(&row.content)) {
                Some(_) => findings.unexplained(format!("{what}, which must not be there")),
                None if expected.outcomes.contains_key(&row.at.raw) => {
                    findings.duplicated(format!("{what} beside those that the raw record yields"));
                }
                None => findings.unexplained(format!("{what}, and no such raw record exists")),
            }
        }
    }
    let stored_duplicates: BTreeSet<(Uuid, Item)> = stored.duplicates.iter().copied().collect();
    for (id, item) in duplicates.difference(&stored_duplicates) {
        findings.lost(format!("the duplicate delivery of {id} by {} is not recorded", at(item)));
    }
    for (id, item) in stored_duplicates.difference(&duplicates) {
        findings.duplicated(format!("a duplicate delivery of {id} by {} is recorded, which did not happen", at(item)));
    }
}

/// Whether the current rows have the values that the mapping yields, and the version that follows from all deliveries.
fn compare_values(expected: &Expected, stored: &Stored, findings: &mut Findings) {
    for (id, reading) in &expected.readings {
        let (Some((_, content)), Some(row)) = (reading.current(), stored.values.get(id)) else { continue };
        // Another content is a finding already.
        if row.reading.content != content.reading.content {
            continue;
        }
        let from = at(&row_of(&content.version));
        if row.reading != content.reading {
            findings.unexplained(format!("the row of {id} differs from the mapping of {from}"));
        }
        if row.version != content.version {
            findings.unexplained(format!("the row of {id} ({from}) has another version than its deliveries yield"));
        }
    }
}

fn compare_letters(expected: &Expected, stored: &Stored, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for letter in &stored.letters {
        let what = || format!("{} at {} by the {}", letter.reason, at(&letter.at), letter.stage);
        if !seen.insert(letter) {
            findings.duplicated(format!("two dead letters cover one item: {}", what()));
        } else if !expected.letters.contains(letter) {
            findings.unexplained(format!("a dead letter has no reason: {}", what()));
        }
    }
    for letter in expected.letters.iter().filter(|letter| !seen.contains(letter)) {
        findings.lost(format!("no dead letter: {} at {} by the {}", letter.reason, at(&letter.at), letter.stage));
    }
    if stored.letters_without_record > 0 {
        findings.unexplained(format!("{} dead letters name no raw record", stored.letters_without_record));
    }
}

fn compare_outcomes(expected: &Expected, stored: &Stored, findings: &mut Findings) {
    let mut found: BTreeMap<RawPosition, Counts> = BTreeMap::new();
    for run in &stored.outcomes {
        for offset in run.first.offset..=run.last_offset {
            let position = RawPosition { offset, ..run.first };
            if found.insert(position, run.counts).is_some() {
                findings.duplicated(format!("two outcomes cover {position}"));
            }
        }
    }
    for (position, counts) in &expected.outcomes {
        match found.remove(position) {
            None => findings.lost(format!("{position} has no outcome")),
            Some(other) if other != *counts => {
                findings.unexplained(format!("the outcome of {position} is {other:?} instead of {counts:?}"));
            }
            Some(_) => {}
        }
    }
    for position in found.keys() {
        findings.unexplained(format!("an outcome covers {position}, and no such raw record exists"));
    }
}

fn compare_commands(expected: &Expected, stored: &Stored, findings: &mut Findings) {
    let mut by_device: BTreeMap<Uuid, Vec<DeviceCommand>> = BTreeMap::new();
    for event in expected.commands.values() {
        by_device.entry(event.device_key).or_default().push(device_command(event));
    }
    let mut verdicts: BTreeMap<RawPosition, &'static str> = BTreeMap::new();
    let mut holdings: BTreeSet<Holding> = BTreeSet::new();
    for (device, commands) in by_device {
        let folded = fold(&commands);
        verdicts.extend(folded.verdicts.iter().map(|(appended, verdict)| (raw_position(appended), verdict.as_str())));
        holdings.extend(
            folded
                .intervals
                .into_iter()
                .map(|interval| (device, interval.patient.as_str().to_owned(), Some(interval.from), interval.until)),
        );
    }
    for (position, verdict) in &verdicts {
        match stored.commands.get(position) {
            None => findings.lost(format!("the command {position} is not stored")),
            Some(found) if found.as_deref() != Some(*verdict) => {
                findings.unexplained(format!("the verdict on {position} is {found:?} instead of {verdict}"));
            }
            Some(_) => {}
        }
    }
    for position in stored.commands.keys().filter(|position| !verdicts.contains_key(position)) {
        findings.unexplained(format!("the command {position} is stored, and no such raw record exists"));
    }
    let stored_holdings: BTreeSet<Holding> = stored.holdings.iter().cloned().collect();
    for (device, ..) in holdings.difference(&stored_holdings) {
        findings.lost(format!("an interval of the device {device} is missing"));
    }
    for (device, ..) in stored_holdings.difference(&holdings) {
        findings.unexplained(format!("an interval of the device {device} follows from no command"));
    }
}

pub(super) fn device_command(event: &Assignment) -> DeviceCommand {
    DeviceCommand {
        appended: Appended {
            at: event.received_at,
            topic: RawTopic::Devices,
            topic_epoch: event.topic_epoch,
            partition: event.partition,
            offset: event.offset,
            item: 0,
        },
        source: event.source.clone(),
        effective_from: event.effective_from,
        command: match event.command {
            Command::Assign => Command::Assign,
            Command::Unassign => Command::Unassign,
        },
        patient: event.patient.clone(),
        subject: event.subject.clone(),
        provider: event.provider,
        bound_to: event.bound_to.clone(),
    }
}

pub(super) const fn raw_position(appended: &Appended) -> RawPosition {
    let Appended { topic, topic_epoch, partition, offset, .. } = *appended;
    RawPosition { topic, topic_epoch, partition, offset }
}

fn compare_documents(expected: &Expected, stored: &Stored, findings: &mut Findings) {
    let found: BTreeSet<&[u8]> = stored.documents.iter().map(|(hash, _)| hash.as_slice()).collect();
    for _ in expected.documents.iter().filter(|hash| !found.contains(hash.as_slice())) {
        findings.lost("a document is not stored".to_owned());
    }
    for (hash, has_content) in &stored.documents {
        if !has_content {
            findings.unexplained("a document is not stored under its own hash".to_owned());
        } else if !expected.documents.iter().any(|expected| expected == hash.as_slice()) {
            findings.unexplained("a document is stored that no raw record contains".to_owned());
        }
    }
}
