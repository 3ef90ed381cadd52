//! The structure of the TOML files: the two that are compiled in, and a catalogue file, which extends both.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use toml::Spanned;

use crate::metric::ValueKind;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitFile {
    pub(super) unit: Vec<UnitEntry>,
}

/// A catalogue file. An entry that names a built-in unit, metric or list of values adds to it; any other entry is a new one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtensionFile {
    pub(super) revision: Option<i64>,
    #[serde(default)]
    pub(super) unit: Vec<Spanned<UnitEntry>>,
    #[serde(default)]
    pub(super) metric: Vec<Spanned<MetricEntry>>,
    #[serde(default)]
    pub(super) values: BTreeMap<String, Vec<Spanned<ValueEntry>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitEntry {
    pub(super) ucum: String,
    /// Only an entry that adds spellings to a built-in unit has none.
    pub(super) property: Option<String>,
    pub(super) to_base: Option<[i64; 3]>,
    #[serde(default)]
    pub(super) exact: Vec<String>,
    #[serde(default)]
    pub(super) names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricFile {
    pub(super) metric: Vec<MetricEntry>,
    /// Lists of values that several metrics share, by name.
    pub(super) values: HashMap<String, Vec<ValueEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricEntry {
    /// The line of the catalogue file that adds the metric or adds to it.
    #[serde(skip)]
    pub(super) line: Option<usize>,
    pub(super) key: String,
    /// Only an entry that adds to a built-in metric has none.
    pub(super) display: Option<String>,
    pub(super) kind: Option<ValueKind>,
    #[serde(default)]
    pub(super) also: Vec<(String, String)>,
    #[serde(default)]
    pub(super) components: Vec<String>,
    #[serde(default)]
    pub(super) spellings: ByVocabulary<Vec<String>>,
    #[serde(default)]
    pub(super) default_unit: ByDefaults,
    #[serde(default)]
    pub(super) pair: Vec<PairEntry>,
    /// The name of the list of values in [`MetricFile::values`].
    pub(super) values: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ByVocabulary<T: Default> {
    pub(super) medisante: T,
    pub(super) healthkit: T,
    pub(super) health_auto_export: T,
}

/// The default units, by whose documentation they come from ([`schemas::format::Defaults`]).
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ByDefaults {
    pub(super) react_native_health: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PairEntry {
    pub(super) system: String,
    pub(super) code: String,
    pub(super) display: String,
    pub(super) unit: Option<String>,
    pub(super) range: Option<[String; 2]>,
    pub(super) why: Option<String>,
    /// The value is a share of a whole: a number without a unit is read as a fraction, `0.98` as 98 %.
    #[serde(default)]
    pub(super) share: bool,
    /// Sources use only this unit for the metric, although other units convert into it.
    #[serde(default)]
    pub(super) only_unit: bool,
    /// Units of another property whose numbers are used unchanged, such as Apple's `count` for a BMI.
    #[serde(default)]
    pub(super) same: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueEntry {
    pub(super) system: String,
    pub(super) code: String,
    /// Only an entry that adds spellings to a built-in value has none.
    pub(super) display: Option<String>,
    pub(super) spellings: Vec<String>,
}
