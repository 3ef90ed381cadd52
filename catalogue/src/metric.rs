//! One metric: its codes, its units, and how a value of a source becomes a canonical one.

use std::cmp::Ordering;

use schemas::format::Defaults;

use crate::{
    decimal::{Conversion, Decimal},
    system::Vocabulary,
};

/// What a metric's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// A number with a unit.
    Quantity,
    /// One of a list of codes.
    Coded,
    /// No value of its own, but components.
    Panel,
    /// A sampled waveform.
    Waveform,
    /// A document, such as an ECG report.
    Document,
}

impl ValueKind {
    /// Its name in `metrics.toml`.
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
    /// At least one; the loader sees to it.
    pub(crate) first: CodeUnit,
    pub(crate) others: Vec<CodeUnit>,
    pub(crate) also: Vec<(&'static str, String)>,
    pub(crate) medisante: Vec<String>,
    pub(crate) healthkit: Vec<String>,
    pub(crate) health_auto_export: Vec<String>,
    /// UCUM: the unit in which react-native-health returns the value.
    pub(crate) react_native_health: Option<String>,
    /// Whether the unit of the first pair is the only one: see [`Metric::only_unit`].
    pub(crate) has_one_unit: bool,
    pub(crate) components: Vec<usize>,
    pub(crate) values: Vec<CodedValue>,
}

/// A code with the one unit in which its values are stored.
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

/// What is physically possible, both ends included, in the canonical unit.
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
    /// The code that the unit of the source selects, with its unit.
    pub code: &'static CodeUnit,
    /// The value in that unit, as decimal text.
    pub value: String,
    /// The exact value does not terminate; this one has 15 significant digits, rounded half-even.
    pub rounded: bool,
    /// The value lies outside of what is physically possible. It is flagged, not dropped.
    pub out_of_range: bool,
}

/// Why a unit does not serve for a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No such unit is known.
    #[error("unknown unit")]
    Unknown,
    /// The unit is known, but measures something else than this metric.
    #[error("unit does not fit the metric")]
    Inconvertible,
}

impl Metric {
    /// The name of the metric in this catalogue, in snake case.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A name for people.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// What its value is.
    #[must_use]
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// The first of [`Metric::codes`]: the code where no unit selects one.
    #[must_use]
    pub fn code(&self) -> &CodeUnit {
        &self.first
    }

    /// All code/unit pairs. The unit of a value selects one; none is converted into another.
    pub fn codes(&self) -> impl Iterator<Item = &CodeUnit> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Other codes, as (system, code), that mean this metric when they arrive.
    pub fn alternate_codes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.also.iter().map(|(system, code)| (*system, code.as_str()))
    }

    /// How a vocabulary spells this metric.
    #[must_use]
    pub fn spellings(&self, vocabulary: Vocabulary) -> &[String] {
        match vocabulary {
            Vocabulary::Medisante => &self.medisante,
            Vocabulary::HealthKit => &self.healthkit,
            Vocabulary::HealthAutoExport => &self.health_auto_export,
        }
    }

    /// The unit, in UCUM, of a value without one, if the metric allows one unit only.
    ///
    /// It does if it has one code/unit pair, and either every unit that the pair accepts means the same number (factor 1, shift
    /// 0), such as `1` and `{steps}`, or the pair says `only_unit`: nobody writes the metric in another unit, though a
    /// conversion exists. Heart rates are in beats per minute, also where `Hz` would be accepted if it were named. A percentage
    /// never does, as a number without a unit may be a part of one.
    #[must_use]
    pub fn only_unit(&self) -> Option<&str> {
        self.first.unit().filter(|_| self.has_one_unit)
    }

    /// The unit, in UCUM, that these defaults document for a value without one. None where the metric allows one unit only.
    #[must_use]
    pub fn default_unit(&self, defaults: Defaults) -> Option<&str> {
        match defaults {
            Defaults::ReactNativeHealth => self.react_native_health.as_deref(),
        }
    }

    /// The value of a coded metric that a source means by this word; ASCII case does not matter.
    #[must_use]
    pub fn coded_value(&self, spelling: &str) -> Option<&CodedValue> {
        let spelling = spelling.trim_ascii();
        self.values.iter().find(|value| value.spellings.iter().any(|known| known.eq_ignore_ascii_case(spelling)))
    }

    /// The values of a coded metric that the catalogue knows.
    #[must_use]
    pub fn coded_values(&self) -> &[CodedValue] {
        &self.values
    }
}

impl CodeUnit {
    /// The URI of the code system.
    #[must_use]
    pub fn system(&self) -> &str {
        self.system
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The name that the code system gives the code.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// The canonical unit, in UCUM; `None` for what is no quantity.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// The kind of quantity that selects this pair, such as `mass concentration`.
    #[must_use]
    pub fn property(&self) -> Option<&str> {
        self.property.as_deref()
    }

    /// What is physically possible.
    #[must_use]
    pub fn range(&self) -> Option<&Range> {
        self.range.as_ref()
    }

    /// The units that are accepted, and how they convert into the canonical one.
    #[must_use]
    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }

    /// A value in the unit of this code.
    pub(crate) fn measured(&'static self, value: &Decimal, conversion: &Conversion) -> Measured {
        let converted = value.convert(conversion);
        let out_of_range = self.range.as_ref().is_some_and(|range| {
            if conversion.is_identity() {
                !range.contains(value)
            } else {
                // Beyond what a decimal may be, nothing is possible.
                !Decimal::parse(&converted.text).is_ok_and(|value| range.contains(&value))
            }
        });
        Measured { code: self, value: converted.text, rounded: converted.rounded, out_of_range }
    }
}

impl Accepted {
    /// The unit, in UCUM.
    #[must_use]
    pub fn ucum(&self) -> &str {
        &self.ucum
    }

    /// The way into the canonical unit.
    #[must_use]
    pub fn conversion(&self) -> &Conversion {
        &self.conversion
    }
}

impl Range {
    /// The least possible value.
    #[must_use]
    pub fn min(&self) -> &Decimal {
        &self.min
    }

    /// The greatest possible value.
    #[must_use]
    pub fn max(&self) -> &Decimal {
        &self.max
    }

    /// The source of, or the reason for, the two.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    fn contains(&self, value: &Decimal) -> bool {
        value.cmp_value(&self.min) != Ordering::Less && value.cmp_value(&self.max) != Ordering::Greater
    }
}

impl CodedValue {
    /// The URI of the code system.
    #[must_use]
    pub fn system(&self) -> &str {
        self.system
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Its name.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// How sources spell it.
    #[must_use]
    pub fn spellings(&self) -> &[String] {
        &self.spellings
    }
}
