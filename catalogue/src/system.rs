//! The code systems and the vocabularies of the catalogue.

/// LOINC.
pub const LOINC: &str = "http://loinc.org";
/// SNOMED CT.
pub const SNOMED: &str = "http://snomed.info/sct";
/// ISO/IEEE 11073-10101, the nomenclature of personal health devices (MDC).
pub const MDC: &str = "urn:iso:std:iso:11073:10101";
/// Apple's HealthKit, for metrics without a LOINC code. The URI is the one that HealthKitOnFHIR uses.
pub const HEALTHKIT: &str = "http://developer.apple.com/documentation/healthkit";
/// Medisanté's measurement keys, for metrics without a LOINC code.
pub const MEDISANTE: &str = "urn:medisante:measurement";
/// UCUM, the system of all units in the catalogue.
pub const UCUM: &str = "http://unitsofmeasure.org";
/// The code systems of the catalogue, each with its name in `metrics.toml`.
pub const SYSTEMS: [(&str, &str); 5] =
    [("loinc", LOINC), ("snomed", SNOMED), ("mdc", MDC), ("healthkit", HEALTHKIT), ("medisante", MEDISANTE)];

/// The source whose spellings of metrics are meant.
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
    /// All vocabularies.
    pub const ALL: [Self; 3] = [Self::Medisante, Self::HealthKit, Self::HealthAutoExport];

    /// Returns its name in `metrics.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Medisante => "medisante",
            Self::HealthKit => "healthkit",
            Self::HealthAutoExport => "health_auto_export",
        }
    }
}
