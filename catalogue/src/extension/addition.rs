//! What a catalogue file adds.

use std::fmt;

use serde::Serialize;

/// Something that a catalogue file adds to the built-in catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "adds", rename_all = "kebab-case")]
pub enum Addition {
    /// A unit.
    Unit {
        /// The unit, in UCUM.
        unit: String,
        /// The kind of quantity that it measures.
        property: String,
    },
    /// A spelling of a unit.
    UnitSpelling {
        /// The unit, in UCUM.
        unit: String,
        /// The spelling.
        spelling: String,
    },
    /// A metric.
    Metric {
        /// The key.
        metric: String,
        /// The name for display.
        display: String,
    },
    /// A code under which values are stored.
    Code {
        /// The key of the metric.
        metric: String,
        /// The name of the code system in the file.
        system: String,
        /// The code.
        code: String,
        /// The name of the code in the code system.
        display: String,
        /// The unit of the values, in UCUM.
        unit: Option<String>,
    },
    /// A code by which sources name a metric.
    AlternateCode {
        /// The key of the metric.
        metric: String,
        /// The name of the code system in the file.
        system: String,
        /// The code.
        code: String,
    },
    /// A word by which a source names a metric.
    Spelling {
        /// The key of the metric.
        metric: String,
        /// The source whose word it is.
        source: &'static str,
        /// The word.
        spelling: String,
    },
    /// A value of a coded metric.
    Value {
        /// The list of values.
        list: String,
        /// The code.
        code: String,
        /// The name of the value.
        display: String,
    },
    /// A word by which sources name a value.
    ValueSpelling {
        /// The list of values.
        list: String,
        /// The code of the value.
        code: String,
        /// The word.
        spelling: String,
    },
}

impl fmt::Display for Addition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit { unit, property } => write!(f, "unit {unit}: a unit of {property}"),
            Self::UnitSpelling { unit, spelling } => write!(f, "unit {unit}: the spelling {spelling}"),
            Self::Metric { metric, display } => write!(f, "metric {metric}: a new metric, {display}"),
            Self::Code { metric, system, code, display, unit } => {
                let unit = unit.as_ref().map_or_else(String::new, |unit| format!(", in {unit}"));
                write!(f, "metric {metric}: the code {system} {code} ({display}){unit}")
            }
            Self::AlternateCode { metric, system, code } => write!(f, "metric {metric}: also the code {system} {code}"),
            Self::Spelling { metric, source, spelling } => {
                write!(f, "metric {metric}: the spelling {spelling} of {source}")
            }
            Self::Value { list, code, display } => write!(f, "values {list}: the value {code} ({display})"),
            Self::ValueSpelling { list, code, spelling } => {
                write!(f, "values {list}: the spelling {spelling} of {code}")
            }
        }
    }
}
