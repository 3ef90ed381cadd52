//! Values of coded metrics that a catalogue file adds, and spellings of built-in values.

use super::{
    addition::Addition,
    code,
    fault::{ExtensionError, Place, meant},
    units::check_word,
};
use crate::file::{MetricFile, ValueEntry};

/// Adds the values of a catalogue file to the lists of the built-in catalogue.
pub(super) struct Merge<'m> {
    file: &'m mut MetricFile,
    additions: &'m mut Vec<Addition>,
}

impl<'m> Merge<'m> {
    pub(super) fn new(file: &'m mut MetricFile, additions: &'m mut Vec<Addition>) -> Self {
        Self { file, additions }
    }

    /// Adds an entry of the file to a list, which may be new.
    pub(super) fn add(&mut self, list: &str, entry: ValueEntry, place: &Place) -> Result<(), ExtensionError> {
        if !self.file.metric.iter().any(|metric| metric.values.as_deref() == Some(list)) {
            let lists: Vec<&str> = self.file.metric.iter().filter_map(|metric| metric.values.as_deref()).collect();
            let way_out = meant(list, &lists).unwrap_or_else(|| format!("add `values = {list:?}` to a metric"));
            return Err(place.fault("no metric has this list", way_out));
        }
        code::check(&entry.system, &entry.code, place)?;
        let values = self.file.values.entry(list.to_owned()).or_default();
        let known = values.iter().position(|value| value.code == entry.code);
        let spellings = new_spellings(values, known, &entry.spellings, place)?;
        let (list, code) = (list.to_owned(), entry.code.clone());
        if let Some(value) = known.and_then(|position| values.get_mut(position)) {
            let is_same_display = entry.display.is_none() || entry.display == value.display;
            if value.system != entry.system || !is_same_display {
                let fault = format!("the value {code} is in the list already, with another system or display");
                return Err(place.fault(fault, "leave out the display to add spellings"));
            }
            value.spellings.extend(spellings.clone());
        } else {
            let Some(display) = entry.display.clone() else {
                return Err(place.fault(format!("the new value {code} needs a display"), "add its name"));
            };
            self.additions.push(Addition::Value { list: list.clone(), code: code.clone(), display });
            values.push(ValueEntry { spellings: spellings.clone(), ..entry });
        }
        self.additions.extend(spellings.into_iter().map(|spelling| {
            let (list, code) = (list.clone(), code.clone());
            Addition::ValueSpelling { list, code, spelling }
        }));
        Ok(())
    }
}

/// Returns the spellings that no value of the list has. `of` is the value to which they are given, if the list has it.
fn new_spellings(
    values: &[ValueEntry],
    of: Option<usize>,
    given: &[String],
    place: &Place,
) -> Result<Vec<String>, ExtensionError> {
    let mut new: Vec<String> = Vec::new();
    for spelling in given {
        check_word(spelling, place)?;
        let has = |value: &ValueEntry| value.spellings.iter().any(|word| word.eq_ignore_ascii_case(spelling));
        match values.iter().position(has) {
            Some(owner) if Some(owner) == of => {}
            Some(owner) => {
                let fault = format!(
                    "'{spelling}' means the value {} already",
                    values.get(owner).map_or("", |value| &value.code)
                );
                return Err(place.fault(fault, "leave it out: a file cannot change what a word means"));
            }
            None => new.push(spelling.clone()),
        }
    }
    Ok(new)
}
