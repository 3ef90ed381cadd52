//! The catalogue that is compiled in, and what is looked up in it.

use std::sync::LazyLock;

use crate::{
    catalogue::Catalogue,
    decimal::Decimal,
    index::folded,
    load::CatalogueError,
    metric::{Measured, Metric, UnitError},
    system::{LOINC, MDC, SNOMED, Vocabulary},
    unit::Unit,
};

static CATALOGUE: LazyLock<Result<Catalogue, CatalogueError>> =
    LazyLock::new(|| Catalogue::parse(include_str!("metrics.toml"), include_str!("units.toml")));

/// Reads the catalogue, if that has not been done, and says whether it is sound. Without a sound catalogue nothing is found.
///
/// # Errors
/// What is wrong in the compiled-in files.
pub fn check() -> Result<(), &'static CatalogueError> {
    CATALOGUE.as_ref().map(|_| ())
}

/// All metrics, in the order of the file.
#[must_use]
pub fn metrics() -> &'static [Metric] {
    catalogue().map_or(&[], Catalogue::metrics)
}

/// All units, in the order of the file.
#[must_use]
pub fn units() -> &'static [Unit] {
    catalogue().map_or(&[], Catalogue::units)
}

/// The metric that a source means by this word; ASCII case does not matter.
#[must_use]
pub fn metric_by_spelling(vocabulary: Vocabulary, spelling: &str) -> Option<&'static Metric> {
    let catalogue = catalogue()?;
    let words = match vocabulary {
        Vocabulary::Medisante => &catalogue.medisante,
        Vocabulary::HealthKit => &catalogue.healthkit,
        Vocabulary::HealthAutoExport => &catalogue.health_auto_export,
    };
    let position = folded(spelling.trim_ascii(), |spelling| words.get(spelling).copied())?;
    metric_at(catalogue, position)
}

/// The metric that has this code, as its own or as an alternate one. `system` is the URI of the code system; the OIDs of
/// LOINC, SNOMED CT and MDC are understood as well.
#[must_use]
pub fn metric_by_code(system: &str, code: &str) -> Option<&'static Metric> {
    let catalogue = catalogue()?;
    let system = match system {
        "urn:oid:2.16.840.1.113883.6.1" => LOINC,
        "urn:oid:2.16.840.1.113883.6.96" => SNOMED,
        "urn:oid:2.16.840.1.113883.6.24" | "urn:std:iso:11073:10101" => MDC,
        other => other,
    };
    let (_, codes) = catalogue.codes.iter().find(|(name, _)| *name == system)?;
    metric_at(catalogue, *codes.get(code.trim_ascii())?)
}

/// The metric with this key of the catalogue.
#[must_use]
pub fn metric_by_key(key: &str) -> Option<&'static Metric> {
    metrics().iter().find(|metric| metric.key() == key)
}

/// The UCUM code of a unit in any accepted spelling, UCUM's own included; annotations such as `{beat}` are dropped
/// (UCUM section 12: they do not change the meaning).
#[must_use]
pub fn ucum_of(spelling: &str) -> Option<&'static str> {
    let units = &catalogue()?.units;
    units.ucum(units.position(spelling)?)
}

/// The UCUM code of a unit in the spelling of Apple's `HKUnit`, as in `export.xml`. It differs from [`ucum_of`] in `%`: Apple
/// defines `HKUnit.percent()` as 0.0 to 1.0, so that its value is a plain number (`1`), which [`Metric::measure`] turns into
/// per cent.
#[must_use]
pub fn ucum_of_apple(spelling: &str) -> Option<&'static str> {
    if spelling.trim_ascii() == "%" { Some("1") } else { ucum_of(spelling) }
}

fn catalogue() -> Option<&'static Catalogue> {
    CATALOGUE.as_ref().ok()
}

fn metric_at(catalogue: &'static Catalogue, position: usize) -> Option<&'static Metric> {
    catalogue.metrics.get(position)
}

impl Metric {
    /// The components of a panel, in order.
    pub fn components(&self) -> impl Iterator<Item = &'static Metric> {
        let catalogue = catalogue();
        self.components.iter().filter_map(move |position| metric_at(catalogue?, *position))
    }

    /// Brings a value into the unit of the code that its unit selects. `unit` may be spelled in any way that
    /// [`ucum_of`](crate::ucum_of) knows.
    ///
    /// # Errors
    /// [`UnitError::Unknown`] where the unit is not in the catalogue, [`UnitError::Inconvertible`] where it measures
    /// something else, and for every metric that is no quantity.
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
