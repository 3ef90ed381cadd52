//! The metric catalogue: what can be measured, how each source spells it, and how its units convert, as data.
//!
//! `metrics.toml` and `units.toml` are compiled in and read once. A test proves that they are sound; a program asks
//! [`check`] at its start. Spellings are matched without regard to ASCII case.

pub mod decimal;
mod load;
mod metric;
mod unit;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use load::CatalogueError;
pub use metric::{Accepted, CodeUnit, CodedValue, Kind, Measured, Metric, Range, UnitError};
pub use unit::Unit;

use metric::metric_at;
use unit::Units;

/// LOINC.
pub const LOINC: &str = "http://loinc.org";
/// SNOMED CT.
pub const SNOMED: &str = "http://snomed.info/sct";
/// ISO/IEEE 11073-10101, the nomenclature of personal health devices (MDC).
pub const MDC: &str = "urn:iso:std:iso:11073:10101";
/// Apple's HealthKit, for what LOINC has no code for; the name that HealthKitOnFHIR gives it.
pub const HEALTHKIT: &str = "http://developer.apple.com/documentation/healthkit";
/// Medisanté's measurement keys, for what LOINC has no code for.
pub const MEDISANTE: &str = "urn:medisante:measurement";
/// UCUM, the system of all units here.
pub const UCUM: &str = "http://unitsofmeasure.org";
/// The code systems of the catalogue, each with its name in `metrics.toml`.
pub const SYSTEMS: [(&str, &str); 5] =
    [("loinc", LOINC), ("snomed", SNOMED), ("mdc", MDC), ("healthkit", HEALTHKIT), ("medisante", MEDISANTE)];

/// Whose words a spelling belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vocabulary {
    /// The keys of `measurements` in a Medisanté message.
    Medisante,
    /// Apple's type identifiers and the short names of react-native-health.
    HealthKit,
    /// The `name` of a metric in Health Auto Export.
    HealthAutoExport,
}

impl Vocabulary {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Medisante, Self::HealthKit, Self::HealthAutoExport];

    /// Its name in `metrics.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Medisante => "medisante",
            Self::HealthKit => "healthkit",
            Self::HealthAutoExport => "health_auto_export",
        }
    }
}

/// Positions by name. The names are the catalogue's own, so that nobody can choose them to collide, and a fast hash serves.
pub(crate) type Index = HashMap<String, usize, foldhash::fast::FixedState>;

/// Everything in the two files, with its indexes. Programs use the one that is compiled in, through [`metrics`] and
/// [`units`]; tests alter the files and read the result.
#[doc(hidden)]
pub struct Catalogue {
    pub(crate) metrics: Vec<Metric>,
    pub(crate) units: Units,
    pub(crate) medisante: Index,
    pub(crate) healthkit: Index,
    pub(crate) health_auto_export: Index,
    pub(crate) codes: Vec<(&'static str, Index)>,
}

impl Catalogue {
    /// Reads the texts of `metrics.toml` and `units.toml`.
    ///
    /// # Errors
    /// What is wrong in them.
    pub fn parse(metrics: &str, units: &str) -> Result<Self, CatalogueError> {
        load::load(metrics, units)
    }

    /// All metrics, in the order of the file.
    #[must_use]
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// All units, in the order of the file.
    #[must_use]
    pub fn units(&self) -> &[Unit] {
        &self.units.all
    }
}

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

pub(crate) fn catalogue() -> Option<&'static Catalogue> {
    CATALOGUE.as_ref().ok()
}

/// Looks a word up in lower case without an allocation; no spelling is longer than the buffer.
pub(crate) fn folded<T>(word: &str, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let mut buffer = [0_u8; 96];
    let lower = buffer.get_mut(..word.len())?;
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    find(std::str::from_utf8(lower).ok()?)
}
