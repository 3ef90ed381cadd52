//! Metrics: their codes, their units, and the conversion of a value of a source into a canonical value.

use std::cmp::Ordering;

use schemas::format::Defaults;

use crate::{
    decimal::{Conversion, Decimal},
    system::Vocabulary,
};

/// The kind of value of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// A number with a unit.
    Quantity,
    /// A code from a list.
    Coded,
    /// No value of its own, only components.
    Panel,
    /// A sampled waveform.
    Waveform,
    /// A document, such as an ECG report.
    Document,
}

impl ValueKind {
    /// Returns its name in `metrics.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quantity => "quantity",
            Self::Coded => "coded",
            Self::Panel => "panel",
            Self::Waveform => "waveform",
            Self::Document => "document",
        }
    }
}

/// Something that can be measured.
pub struct Metric {
    pub(crate) key: String,
    pub(crate) display: String,
    pub(crate) kind: ValueKind,
    /// The first code. The loader ensures that there is at least one.
    pub(crate) first: CodeUnit,
    pub(crate) others: Vec<CodeUnit>,
    pub(crate) also: Vec<(&'static str, String)>,
    pub(crate) medisante: Vec<String>,
    pub(crate) healthkit: Vec<String>,
    pub(crate) health_auto_export: Vec<String>,
    /// The unit, in UCUM, in which react-native-health returns the value.
    pub(crate) react_native_health: Option<String>,
    /// Whether the metric allows only the unit of the first code; see [`Metric::only_unit`].
    pub(crate) has_one_unit: bool,
    pub(crate) components: Vec<usize>,
    pub(crate) values: Vec<CodedValue>,
}

/// A code with the unit in which its values are stored.
pub struct CodeUnit {
    pub(crate) system: &'static str,
    pub(crate) code: String,
    pub(crate) display: String,
    pub(crate) unit: Option<String>,
    pub(crate) property: Option<String>,
    pub(crate) range: Option<Range>,
    pub(crate) accepted: Vec<Accepted>,
}

/// A unit that a code accepts.
pub struct Accepted {
    pub(crate) position: usize,
    pub(crate) ucum: String,
    pub(crate) conversion: Conversion,
}

/// The physically possible values in the canonical unit, with both ends included.
pub struct Range {
    pub(crate) min: Decimal,
    pub(crate) max: Decimal,
    pub(crate) why: String,
}

/// One value of a coded metric.
pub struct CodedValue {
    pub(crate) system: &'static str,
    pub(crate) code: String,
    pub(crate) display: String,
    pub(crate) spellings: Vec<String>,
}

/// A value in canonical form. It has no `Debug`: it is health data.
#[derive(Clone)]
pub struct Measured {
    /// The code that the unit of the source selects, with the canonical unit.
    pub code: &'static CodeUnit,
    /// The value in that unit, as decimal text.
    pub value: String,
    /// Whether the exact value has no finite decimal expansion and was rounded half-even to 15 significant digits.
    pub rounded: bool,
    /// Whether the value is outside what is physically possible. Such a value gets a flag and is not dropped.
    pub out_of_range: bool,
}

/// Why a unit cannot be used for a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The unit is not in the catalogue.
    #[error("unknown unit")]
    Unknown,
    /// The unit is in the catalogue, but the metric does not accept it.
    #[error("unit does not fit the metric")]
    Inconvertible,
}

impl Metric {
    /// Returns the name of the metric in this catalogue, in snake case.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the name for display.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Returns the kind of its value.
    #[must_use]
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// Returns the first of [`Metric::codes`], which applies when no unit selects a code.
    #[must_use]
    pub fn code(&self) -> &CodeUnit {
        &self.first
    }

    /// Returns all pairs of a code and a unit. The unit of a value selects one; no pair is converted into another.
    pub fn codes(&self) -> impl Iterator<Item = &CodeUnit> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Returns the other codes, as (system, code), that sources use for this metric.
    pub fn alternate_codes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.also.iter().map(|(system, code)| (*system, code.as_str()))
    }

    /// Returns the spellings of this metric in a vocabulary.
    #[must_use]
    pub fn spellings(&self, vocabulary: Vocabulary) -> &[String] {
        match vocabulary {
            Vocabulary::Medisante => &self.medisante,
            Vocabulary::HealthKit => &self.healthkit,
            Vocabulary::HealthAutoExport => &self.health_auto_export,
        }
    }

    /// Returns the unit, in UCUM, of a value without a unit, if the metric allows one unit only.
    ///
    /// A metric allows one unit only if it has one code/unit pair and one of two conditions holds: every unit that the pair accepts
    /// means the same number (factor 1, shift 0), such as `1` and `{steps}`; or the pair has `only_unit`, because sources never use
    /// another unit although a conversion exists. For example, heart rates are in beats per minute, although `Hz` is accepted when
    /// it is named. A percentage never allows one unit only, because a number without a unit may be a fraction of one.
    #[must_use]
    pub fn only_unit(&self) -> Option<&str> {
        self.first.unit().filter(|_| self.has_one_unit)
    }

    /// Returns the unit, in UCUM, that these defaults document for a value without a unit. `None` when they document none, or when
    /// the metric allows one unit only.
    #[must_use]
    pub fn default_unit(&self, defaults: Defaults) -> Option<&str> {
        match defaults {
            Defaults::ReactNativeHealth => self.react_native_health.as_deref(),
        }
    }

    /// Returns the value of a coded metric that a source means by this word. ASCII case does not matter.
    #[must_use]
    pub fn coded_value(&self, spelling: &str) -> Option<&CodedValue> {
        let spelling = spelling.trim_ascii();
        self.values.iter().find(|value| value.spellings.iter().any(|known| known.eq_ignore_ascii_case(spelling)))
    }

    /// Returns the values of a coded metric.
    #[must_use]
    pub fn coded_values(&self) -> &[CodedValue] {
        &self.values
    }
}

impl CodeUnit {
    /// Returns the URI of the code system.
    #[must_use]
    pub fn system(&self) -> &str {
        self.system
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the name of the code in the code system.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Returns the canonical unit, in UCUM; `None` when the value is not a quantity.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// Returns the kind of quantity that selects this code, such as `mass concentration`.
    #[must_use]
    pub fn property(&self) -> Option<&str> {
        self.property.as_deref()
    }

    /// Returns the physically possible values.
    #[must_use]
    pub fn range(&self) -> Option<&Range> {
        self.range.as_ref()
    }

    /// Returns the accepted units with their conversions into the canonical unit.
    #[must_use]
    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }

    /// Converts a value into the unit of this code.
    pub(crate) fn measured(&'static self, value: &Decimal, conversion: &Conversion) -> Measured {
        let converted = value.convert(conversion);
        let out_of_range = self.range.as_ref().is_some_and(|range| {
            if conversion.is_identity() {
                !range.contains(value)
            } else {
                // A number that is too large to be parsed is out of range too.
                !Decimal::parse(&converted.text).is_ok_and(|value| range.contains(&value))
            }
        });
        Measured { code: self, value: converted.text, rounded: converted.rounded, out_of_range }
    }
}

impl Accepted {
    /// Returns the unit, in UCUM.
    #[must_use]
    pub fn ucum(&self) -> &str {
        &self.ucum
    }

    /// Returns the conversion into the canonical unit.
    #[must_use]
    pub fn conversion(&self) -> &Conversion {
        &self.conversion
    }
}

impl Range {
    /// Returns the smallest possible value.
    #[must_use]
    pub fn min(&self) -> &Decimal {
        &self.min
    }

    /// Returns the largest possible value.
    #[must_use]
    pub fn max(&self) -> &Decimal {
        &self.max
    }

    /// Returns the source of the two limits, or the reason for them.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    fn contains(&self, value: &Decimal) -> bool {
        value.cmp_value(&self.min) != Ordering::Less && value.cmp_value(&self.max) != Ordering::Greater
    }
}

impl CodedValue {
    /// Returns the URI of the code system.
    #[must_use]
    pub fn system(&self) -> &str {
        self.system
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the name of the value.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Returns the spellings that sources use.
    #[must_use]
    pub fn spellings(&self) -> &[String] {
        &self.spellings
    }
}
