//! The code systems of the catalogue, and whose words its spellings are.

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
