//! The catalogue in use, and the lookups in it.

use std::sync::OnceLock;

use crate::{
    catalogue::Catalogue,
    decimal::Decimal,
    extension::{CatalogueFile, Extension},
    index::folded,
    load::{CatalogueError, Entries, load},
    metric::{Measured, Metric, UnitError},
    system::{LOINC, MDC, SNOMED, Vocabulary},
    unit::Unit,
};

/// Set once: by [`install`], or by the first lookup to the catalogue that is compiled in.
static IN_USE: OnceLock<InUse> = OnceLock::new();

struct InUse {
    catalogue: Result<Catalogue, CatalogueError>,
    /// The file that extends the built-in catalogue.
    file: Option<CatalogueFile>,
}

fn in_use() -> &'static InUse {
    IN_USE.get_or_init(|| InUse { catalogue: Entries::built_in().and_then(load), file: None })
}

/// Makes this process use the built-in catalogue with the additions of a file. Call it before the first lookup: what was mapped
/// before would have been mapped with another catalogue.
///
/// # Errors
/// [`InUseAlready`]: a catalogue is in use.
pub fn install(extension: Extension) -> Result<(), InUseAlready> {
    let Extension { file, catalogue, .. } = extension;
    IN_USE.set(InUse { catalogue: Ok(catalogue), file: Some(file) }).map_err(|_| InUseAlready)
}

/// A catalogue file was to be installed after a lookup.
#[derive(Debug, thiserror::Error)]
#[error("a catalogue is in use already")]
pub struct InUseAlready;

/// Returns the catalogue file that this process uses; `None` if it uses the built-in catalogue alone.
#[must_use]
pub fn file() -> Option<&'static CatalogueFile> {
    in_use().file.as_ref()
}

/// Returns the revision of the catalogue file that this process uses; 0 if it uses the built-in catalogue alone.
#[must_use]
pub fn revision() -> i32 {
    file().map_or(0, CatalogueFile::revision)
}

/// Parses the built-in catalogue, if that has not been done, and checks that it is valid. All lookups in an invalid catalogue find
/// nothing.
///
/// # Errors
/// The first fault in the compiled-in files.
pub fn check() -> Result<(), &'static CatalogueError> {
    in_use().catalogue.as_ref().map(|_| ())
}

/// Returns all metrics, in the order of the file.
#[must_use]
pub fn metrics() -> &'static [Metric] {
    catalogue().map_or(&[], Catalogue::metrics)
}

/// Returns all units, in the order of the file.
#[must_use]
pub fn units() -> &'static [Unit] {
    catalogue().map_or(&[], Catalogue::units)
}

/// Returns the metric that a source means by this word. ASCII case does not matter.
#[must_use]
pub fn metric_by_spelling(vocabulary: Vocabulary, spelling: &str) -> Option<&'static Metric> {
    catalogue()?.metric_by_spelling(vocabulary, spelling)
}

/// Returns the metric that has this code, as a code of a pair or as an alternate code. `system` is the URI of the code system; the
/// OIDs of LOINC, SNOMED CT and MDC are accepted as well.
#[must_use]
pub fn metric_by_code(system: &str, code: &str) -> Option<&'static Metric> {
    catalogue()?.metric_by_code(system, code)
}

/// Returns the metric with this key.
#[must_use]
pub fn metric_by_key(key: &str) -> Option<&'static Metric> {
    metrics().iter().find(|metric| metric.key() == key)
}

/// Returns the UCUM code of a unit in any accepted spelling, which includes the UCUM code itself. Annotations such as `{beat}` are
/// ignored (UCUM section 12: they do not change the meaning).
#[must_use]
pub fn ucum_of(spelling: &str) -> Option<&'static str> {
    let units = &catalogue()?.units;
    units.ucum(units.position(spelling)?)
}

/// Returns the UCUM code of a unit in the spelling of Apple's `HKUnit`, as in `export.xml`. It differs from [`ucum_of`] only for
/// `%`: Apple defines `HKUnit.percent()` as 0.0 to 1.0, so its value is a fraction with the unit `1`, which [`Metric::measure`]
/// converts into per cent.
#[must_use]
pub fn ucum_of_apple(spelling: &str) -> Option<&'static str> {
    if spelling.trim_ascii() == "%" { Some("1") } else { ucum_of(spelling) }
}

fn catalogue() -> Option<&'static Catalogue> {
    in_use().catalogue.as_ref().ok()
}

impl Catalogue {
    pub(crate) fn metric_by_spelling(&self, vocabulary: Vocabulary, spelling: &str) -> Option<&Metric> {
        let words = match vocabulary {
            Vocabulary::Medisante => &self.medisante,
            Vocabulary::HealthKit => &self.healthkit,
            Vocabulary::HealthAutoExport => &self.health_auto_export,
        };
        let position = folded(spelling.trim_ascii(), |spelling| words.get(spelling).copied())?;
        self.metrics.get(position)
    }

    pub(crate) fn metric_by_code(&self, system: &str, code: &str) -> Option<&Metric> {
        let system = match system {
            "urn:oid:2.16.840.1.113883.6.1" => LOINC,
            "urn:oid:2.16.840.1.113883.6.96" => SNOMED,
            "urn:oid:2.16.840.1.113883.6.24" | "urn:std:iso:11073:10101" => MDC,
            other => other,
        };
        let (_, codes) = self.codes.iter().find(|(name, _)| *name == system)?;
        self.metrics.get(*codes.get(code.trim_ascii())?)
    }
}

impl Metric {
    /// Returns the components of a panel, in order.
    pub fn components(&self) -> impl Iterator<Item = &'static Metric> {
        let catalogue = catalogue();
        self.components.iter().filter_map(move |position| catalogue?.metrics.get(*position))
    }

    /// Converts a value into the unit of the code that its own unit selects. `unit` may have any spelling that
    /// [`ucum_of`](crate::ucum_of) accepts.
    ///
    /// # Errors
    /// [`UnitError::Unknown`] when the unit is not in the catalogue; [`UnitError::Inconvertible`] when the metric does not accept
    /// the unit, as is the case for every metric that is not a quantity.
    pub fn measure(&'static self, value: &Decimal, unit: &str) -> Result<Measured, UnitError> {
        let units = catalogue().map(|catalogue| &catalogue.units).ok_or(UnitError::Unknown)?;
        let position = units.position(unit).ok_or(UnitError::Unknown)?;
        for code in self.codes() {
            if let Some(accepted) = code.accepted.iter().find(|accepted| accepted.position == position) {
                return Ok(code.measured(value, &accepted.conversion));
            }
        }
        Err(UnitError::Inconvertible)
    }
}
