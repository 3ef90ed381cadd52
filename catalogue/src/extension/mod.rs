//! A catalogue file: what an operator adds to the built-in catalogue, without a release.
//!
//! The file has the form of `metrics.toml` and `units.toml`. It can add, and change nothing: an entry that names a built-in metric,
//! unit or list of values adds to it, every other entry is a new one, and what contradicts a built-in entry is refused. What the
//! built-in catalogue contains already, in the same meaning, is no fault, so that a file remains valid when a release takes over
//! its spellings.

mod addition;
mod code;
mod fault;
mod metrics;
mod text;
mod ucum;
mod units;
mod values;

use sha2::{Digest as _, Sha256};

pub use addition::Addition;
pub use fault::{ExtensionError, ExtensionErrors};

use crate::{
    catalogue::Catalogue,
    file::ExtensionFile,
    load::{CatalogueError, Entries, load},
};
use fault::{FORM, Place, line_at, unreadable};

/// The size of the largest catalogue file, in bytes.
pub const CATALOGUE_FILE_BYTES_MAX: usize = 1 << 20;

/// The greatest revision. The greatest number that can be stored is not used: it looks like a mistake, and no higher one could follow.
const REVISION_MAX: i32 = i32::MAX - 1;

/// A valid catalogue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueFile {
    revision: i32,
    text: String,
    sha256: String,
}

impl CatalogueFile {
    /// Returns the revision, which is at least 1.
    #[must_use]
    pub fn revision(&self) -> i32 {
        self.revision
    }

    /// Returns the whole file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the SHA-256 of the file, in hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// The built-in catalogue with the additions of a catalogue file, ready to be [installed](crate::install).
pub struct Extension {
    pub(crate) file: CatalogueFile,
    pub(crate) catalogue: Catalogue,
    additions: Vec<Addition>,
}

impl Extension {
    /// Parses a catalogue file and checks it against the built-in catalogue.
    ///
    /// # Errors
    /// [`ExtensionErrors`] with the first fault of each entry.
    pub fn parse(text: &str) -> Result<Self, ExtensionErrors> {
        if text.len() > CATALOGUE_FILE_BYTES_MAX {
            return Err(
                ExtensionError::of_file("the file is larger than 1 MiB", "leave out what no device sends").into()
            );
        }
        let parsed: ExtensionFile = toml::from_str(text).map_err(|error| unreadable(text, &error))?;
        let faults = text::faults(text).map_err(|error| unreadable(text, &error))?;
        if !faults.is_empty() {
            return Err(ExtensionErrors(faults));
        }
        let ExtensionFile { revision: written, unit, metric, values } = parsed;
        let built_in = Entries::built_in().and_then(load).map_err(|error| ExtensionError::built_in(&error))?;
        let mut entries = Entries::built_in().map_err(|error| ExtensionError::built_in(&error))?;
        let place = |byte: usize, entry: String| Place { line: line_at(text, byte), entry };
        let (mut additions, mut faults) = (Vec::new(), Vec::new());
        let revision = revision(written).map_err(|fault| faults.push(fault)).ok();
        let mut new_units = Vec::new();
        let mut merge = units::Merge::new(&built_in.units, &mut entries.units, &mut additions);
        for entry in unit {
            let place = place(entry.span().start, format!("unit {}", entry.get_ref().ucum));
            match merge.add(entry.into_inner(), &place) {
                Ok(property) => new_units.extend(property.map(|property| (property, place))),
                Err(fault) => faults.push(fault),
            }
        }
        let mut merge = metrics::Merge::new(&built_in, &mut entries, &mut additions);
        for entry in metric {
            let place = place(entry.span().start, format!("metric {}", entry.get_ref().key));
            faults.extend(merge.add(entry.into_inner(), &place).err());
        }
        let mut merge = values::Merge::new(&mut entries.metrics, &mut additions);
        for (list, entries) in values {
            for entry in entries {
                let place = place(entry.span().start, format!("list of values {list}"));
                faults.extend(merge.add(&list, entry.into_inner(), &place).err());
            }
        }
        let Some(revision) = revision.filter(|_| faults.is_empty()) else { return Err(ExtensionErrors(faults)) };
        let lines: Vec<(String, Option<usize>)> =
            entries.metrics.metric.iter().map(|metric| (metric.key.clone(), metric.line)).collect();
        let catalogue = load(entries).map_err(unsound)?;
        keeps_units_of_bare_numbers(&built_in, &catalogue, &lines, &new_units)?;
        let file = CatalogueFile { revision, text: text.to_owned(), sha256: hex::encode(Sha256::digest(text)) };
        Ok(Self { file, catalogue, additions })
    }

    /// Returns the file.
    #[must_use]
    pub fn file(&self) -> &CatalogueFile {
        &self.file
    }

    /// Returns what the file adds to the built-in catalogue: units, then metrics, then values.
    #[must_use]
    pub fn additions(&self) -> &[Addition] {
        &self.additions
    }
}

fn revision(written: Option<i64>) -> Result<i32, ExtensionError> {
    const WAY_OUT: &str = "begin it with `revision = 1`, and raise the number with every change";
    let written = written.ok_or_else(|| ExtensionError::of_file("the file has no revision", WAY_OUT))?;
    i32::try_from(written).ok().filter(|revision| (1..=REVISION_MAX).contains(revision)).ok_or_else(|| {
        let fault = format!("the revision is {written}, and must be a number from 1 to {REVISION_MAX}");
        ExtensionError::of_file(fault, "0 stands for the built-in catalogue alone")
    })
}

/// A fault that the built-in checks find.
fn unsound(error: CatalogueError) -> ExtensionError {
    match error {
        CatalogueError::Unsound { place, fault, line } => ExtensionError::new(line, place, fault, FORM),
        CatalogueError::Unreadable(_) => ExtensionError::built_in(&error),
    }
}

/// Checks that each number without a unit is still read in the same unit. A metric that allows one unit only would lose it by a
/// second pair, or by a unit of its property that means another number.
fn keeps_units_of_bare_numbers(
    built_in: &Catalogue,
    extended: &Catalogue,
    lines: &[(String, Option<usize>)],
    new_units: &[(String, Place)],
) -> Result<(), ExtensionError> {
    for (before, after) in built_in.metrics().iter().zip(extended.metrics()) {
        if before.only_unit() == after.only_unit() {
            continue;
        }
        let key = before.key();
        let property = before.code().property();
        let unit = new_units.iter().find(|(of, _)| Some(of.as_str()) == property).map(|(_, place)| place);
        let line = lines.iter().find(|(known, _)| known == key).and_then(|(_, line)| *line);
        let fault = format!("{key} allows one unit only, so that a number without a unit can be read");
        return Err(match unit {
            Some(place) if after.codes().count() == 1 => place
                .fault(format!("{fault}; with this unit it would allow two"), "give the unit a property of its own"),
            Some(_) | None => {
                ExtensionError::new(line, format!("metric {key}"), fault, "make a new metric of the pair")
            }
        });
    }
    Ok(())
}
