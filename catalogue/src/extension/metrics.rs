//! Metrics that a catalogue file adds, and spellings, codes and pairs of built-in metrics.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    addition::Addition,
    code,
    fault::{ExtensionError, FORM, Place, meant},
    units::{check_known, check_word},
};
use crate::{
    catalogue::Catalogue,
    file::{ByVocabulary, MetricEntry, PairEntry},
    load::Entries,
    system::Vocabulary,
};

/// Adds the metrics of a catalogue file to those of the built-in catalogue.
pub(super) struct Merge<'m> {
    built_in: &'m Catalogue,
    entries: &'m mut Entries,
    additions: &'m mut Vec<Addition>,
    /// The keys that the file has named.
    named: BTreeSet<String>,
    /// The lines in which the file gives a word of a source to a metric.
    spellings: BTreeMap<(&'static str, String), usize>,
    /// The metrics to which the file gives a code, with the line.
    codes: BTreeMap<(&'static str, String), (String, usize)>,
}

impl<'m> Merge<'m> {
    pub(super) fn new(built_in: &'m Catalogue, entries: &'m mut Entries, additions: &'m mut Vec<Addition>) -> Self {
        let (named, spellings, codes) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { built_in, entries, additions, named, spellings, codes }
    }

    /// Adds an entry of the file.
    pub(super) fn add(&mut self, mut entry: MetricEntry, place: &Place) -> Result<(), ExtensionError> {
        let key = entry.key.clone();
        if !self.named.insert(key.clone()) {
            return Err(place.fault("the file has two entries for this metric", "put both into one entry"));
        }
        let built_in = self.built_in.metrics().iter().position(|metric| metric.key() == key);
        match (built_in, &entry.display) {
            (Some(_), _) => adds_only(&entry, place)?,
            (None, Some(display)) if !entry.pair.is_empty() => {
                check_key(&key, place)?;
                self.additions.push(Addition::Metric { metric: key.clone(), display: display.clone() });
            }
            (None, _) => return Err(self.incomplete(&key, place)),
        }
        entry.line = Some(place.line);
        entry.spellings = self.spellings(&key, entry.spellings, place)?;
        for pair in &entry.pair {
            self.pair(&key, pair, place)?;
        }
        entry.also = self.also(&key, entry.also, place)?;
        if let Some(unit) = &entry.default_unit.react_native_health {
            check_known(unit, &self.entries.units.unit, place)?;
        }
        let metrics = &mut self.entries.metrics.metric;
        match built_in.and_then(|position| metrics.get_mut(position)) {
            Some(known) => {
                known.line = entry.line;
                known.spellings.medisante.extend(entry.spellings.medisante);
                known.spellings.healthkit.extend(entry.spellings.healthkit);
                known.spellings.health_auto_export.extend(entry.spellings.health_auto_export);
                known.also.extend(entry.also);
                known.pair.extend(entry.pair);
            }
            None => metrics.push(entry),
        }
        Ok(())
    }

    fn incomplete(&self, key: &str, place: &Place) -> ExtensionError {
        let keys: Vec<&str> = self.built_in.metrics().iter().map(crate::Metric::key).collect();
        let way_out = meant(key, &keys).unwrap_or_else(|| FORM.to_owned());
        place.fault("no built-in metric has this key, and a new metric needs a display and a pair", way_out)
    }

    /// Returns the spellings that are new.
    fn spellings(
        &mut self,
        key: &str,
        given: ByVocabulary<Vec<String>>,
        place: &Place,
    ) -> Result<ByVocabulary<Vec<String>>, ExtensionError> {
        let ByVocabulary { medisante, healthkit, health_auto_export } = given;
        Ok(ByVocabulary {
            medisante: self.words(Vocabulary::Medisante, key, medisante, place)?,
            healthkit: self.words(Vocabulary::HealthKit, key, healthkit, place)?,
            health_auto_export: self.words(Vocabulary::HealthAutoExport, key, health_auto_export, place)?,
        })
    }

    fn words(
        &mut self,
        vocabulary: Vocabulary,
        key: &str,
        words: Vec<String>,
        place: &Place,
    ) -> Result<Vec<String>, ExtensionError> {
        let source = vocabulary.as_str();
        let mut new = Vec::new();
        for word in words {
            check_word(&word, place)?;
            match self.built_in.metric_by_spelling(vocabulary, &word) {
                Some(metric) if metric.key() == key => continue,
                Some(metric) => {
                    let fault = format!("'{word}' of {source} means the built-in metric {} already", metric.key());
                    return Err(place.fault(fault, "leave it out: a file cannot change what a word means"));
                }
                None => {}
            }
            if let Some(line) = self.spellings.insert((source, word.to_ascii_lowercase()), place.line) {
                let fault = format!("'{word}' of {source} is a spelling in line {line} too");
                return Err(place.fault(fault, "leave one of them out"));
            }
            self.additions.push(Addition::Spelling { metric: key.to_owned(), source, spelling: word.clone() });
            new.push(word);
        }
        Ok(new)
    }

    /// Checks a pair of a code and a unit.
    fn pair(&mut self, key: &str, pair: &PairEntry, place: &Place) -> Result<(), ExtensionError> {
        let PairEntry { system, code, display, unit, same, .. } = pair;
        self.code(key, system, code, place)?;
        for unit in unit.iter().chain(same) {
            check_known(unit, &self.entries.units.unit, place)?;
        }
        self.additions.push(Addition::Code {
            metric: key.to_owned(),
            system: system.clone(),
            code: code.clone(),
            display: display.clone(),
            unit: unit.clone(),
        });
        Ok(())
    }

    /// Returns the alternate codes that are new.
    fn also(
        &mut self,
        key: &str,
        codes: Vec<(String, String)>,
        place: &Place,
    ) -> Result<Vec<(String, String)>, ExtensionError> {
        let mut new = Vec::new();
        for (system, code) in codes {
            if self.code(key, &system, &code, place)? {
                let metric = key.to_owned();
                self.additions.push(Addition::AlternateCode { metric, system: system.clone(), code: code.clone() });
                new.push((system, code));
            }
        }
        Ok(new)
    }

    /// Checks that a code is well-formed and that no other metric has it. Returns whether the metric did not have it before.
    fn code(&mut self, key: &str, name: &str, code: &str, place: &Place) -> Result<bool, ExtensionError> {
        const WAY_OUT: &str = "leave it out, or give this metric a code of its own";
        let system = code::check(name, code, place)?;
        let taken = |by: &str| format!("the code {name} {code} is that of {by} already");
        match self.built_in.metric_by_code(system, code) {
            Some(metric) if metric.key() == key => return Ok(false),
            Some(metric) => {
                return Err(place.fault(taken(&format!("the built-in metric {}", metric.key())), WAY_OUT));
            }
            None => {}
        }
        match self.codes.insert((system, code.to_owned()), (key.to_owned(), place.line)) {
            Some((other, _)) if other == key => Ok(false),
            Some((other, line)) => Err(place.fault(taken(&format!("{other} in line {line}")), WAY_OUT)),
            None => Ok(true),
        }
    }
}

/// Checks that an entry for a built-in metric changes nothing of it.
fn adds_only(entry: &MetricEntry, place: &Place) -> Result<(), ExtensionError> {
    let MetricEntry {
        line: _,
        key: _,
        display,
        kind,
        also: _,
        components,
        spellings: _,
        default_unit,
        pair: _,
        values,
    } = entry;
    let given = [
        ("display", display.is_some()),
        ("kind", kind.is_some()),
        ("components", !components.is_empty()),
        ("default_unit", default_unit.react_native_health.is_some()),
        ("values", values.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((member, _)) => {
            let fault = format!("the metric is built in, and a file cannot change its {member}");
            Err(place.fault(
                fault,
                "an entry for a built-in metric has only spellings, also and pair; or choose another key",
            ))
        }
        None => Ok(()),
    }
}

fn check_key(key: &str, place: &Place) -> Result<(), ExtensionError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if key.is_empty() || !key.bytes().all(is_plain) {
        return Err(
            place.fault("a key has only lower-case letters, digits and underscores", "for example blood_lactate")
        );
    }
    Ok(())
}
