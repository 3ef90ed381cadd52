//! The catalogue that is compiled in, and the lookups in it.

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

/// Parses the catalogue, if that has not been done, and checks that it is valid. All lookups in an invalid catalogue find nothing.
///
/// # Errors
/// The first fault in the compiled-in files.
pub fn check() -> Result<(), &'static CatalogueError> {
    CATALOGUE.as_ref().map(|_| ())
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
    let catalogue = catalogue()?;
    let words = match vocabulary {
        Vocabulary::Medisante => &catalogue.medisante,
        Vocabulary::HealthKit => &catalogue.healthkit,
        Vocabulary::HealthAutoExport => &catalogue.health_auto_export,
    };
    let position = folded(spelling.trim_ascii(), |spelling| words.get(spelling).copied())?;
    metric_at(catalogue, position)
}

/// Returns the metric that has this code, as a code of a pair or as an alternate code. `system` is the URI of the code system; the
/// OIDs of LOINC, SNOMED CT and MDC are accepted as well.
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
    CATALOGUE.as_ref().ok()
}

fn metric_at(catalogue: &'static Catalogue, position: usize) -> Option<&'static Metric> {
    catalogue.metrics.get(position)
}

impl Metric {
    /// Returns the components of a panel, in order.
    pub fn components(&self) -> impl Iterator<Item = &'static Metric> {
        let catalogue = catalogue();
        self.components.iter().filter_map(move |position| metric_at(catalogue?, *position))
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
