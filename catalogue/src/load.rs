//! Loads the catalogue from the two TOML files and checks that it is consistent.

use std::collections::{HashMap, HashSet};

use crate::{
    catalogue::Catalogue,
    decimal::{Conversion, Decimal},
    file::{MetricEntry, MetricFile, PairEntry, UnitEntry, UnitFile, ValueEntry},
    index::Index,
    metric::{Accepted, CodeUnit, CodedValue, Metric, Range, ValueKind},
    system::SYSTEMS,
    unit::{Unit, Units},
};

/// A fault in the catalogue. The error may name the place, because the catalogue contains no health data.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A file is not TOML with the expected structure.
    #[error("the catalogue cannot be parsed")]
    Unreadable(#[source] toml::de::Error),
    /// An entry contradicts another entry or is incomplete.
    #[error("{place}: {fault}")]
    Unsound {
        /// The key of the metric, the unit, or the spelling or code.
        place: String,
        /// What is wrong with it.
        fault: &'static str,
        /// The line of the catalogue file that adds the metric or adds to it.
        line: Option<usize>,
    },
}

impl CatalogueError {
    fn at(self, of_metric: Option<usize>) -> Self {
        match self {
            Self::Unreadable(error) => Self::Unreadable(error),
            Self::Unsound { place, fault, line } => Self::Unsound { place, fault, line: line.or(of_metric) },
        }
    }
}

/// The entries from which a catalogue is made.
pub(super) struct Entries {
    pub(super) units: UnitFile,
    pub(super) metrics: MetricFile,
}

impl Entries {
    /// Returns the entries of the files that are compiled in.
    pub(super) fn built_in() -> Result<Self, CatalogueError> {
        Self::parse(include_str!("metrics.toml"), include_str!("units.toml"))
    }

    fn parse(metrics: &str, units: &str) -> Result<Self, CatalogueError> {
        let units = toml::from_str(units).map_err(CatalogueError::Unreadable)?;
        let metrics = toml::from_str(metrics).map_err(CatalogueError::Unreadable)?;
        Ok(Self { units, metrics })
    }
}

impl Catalogue {
    /// Parses the texts of `metrics.toml` and `units.toml`.
    ///
    /// # Errors
    /// [`CatalogueError`] with the first fault in the files.
    pub fn parse(metrics: &str, units: &str) -> Result<Self, CatalogueError> {
        load(Entries::parse(metrics, units)?)
    }
}

/// Checks the entries, and makes the catalogue.
pub(super) fn load(Entries { units, metrics: file }: Entries) -> Result<Catalogue, CatalogueError> {
    let units = load_units(units)?;
    let mut keys = HashMap::new();
    for (position, entry) in file.metric.iter().enumerate() {
        if keys.insert(entry.key.clone(), position).is_some() {
            return Err(unsound(&entry.key, "two metrics with this key"));
        }
    }
    let mut catalogue = Catalogue {
        metrics: Vec::with_capacity(file.metric.len()),
        units,
        medisante: Index::default(),
        healthkit: Index::default(),
        health_auto_export: Index::default(),
        codes: SYSTEMS.map(|(_, system)| (system, Index::default())).into(),
    };
    for entry in file.metric {
        let line = entry.line;
        let values = match &entry.values {
            Some(name) => {
                file.values.get(name).ok_or_else(|| unsound(&entry.key, "unknown list of values").at(line))?.as_slice()
            }
            None => &[],
        };
        let metric = load_metric(entry, values, &catalogue.units, &keys).map_err(|error| error.at(line))?;
        index(&mut catalogue, &metric).map_err(|error| error.at(line))?;
        catalogue.metrics.push(metric);
    }
    Ok(catalogue)
}

fn load_units(file: UnitFile) -> Result<Units, CatalogueError> {
    let mut units = Units::default();
    for entry in file.unit {
        let [factor, shift, divisor] = entry.to_base.unwrap_or([1, 0, 1]);
        let to_base = Conversion::new(factor.into(), shift.into(), divisor.into())
            .ok_or_else(|| unsound(&entry.ucum, "the conversion is not valid"))?;
        let position = units.all.len();
        for spelling in std::iter::once(&entry.ucum).chain(&entry.exact) {
            if units.exact.insert(spelling.clone(), position).is_some() {
                return Err(unsound(spelling, "two units have this spelling"));
            }
        }
        for name in &entry.names {
            if units.names.insert(name.to_ascii_lowercase(), position).is_some() {
                return Err(unsound(name, "two units have this name"));
            }
        }
        let UnitEntry { ucum, property, exact, names, .. } = entry;
        let property = property.ok_or_else(|| unsound(&ucum, "the unit has no property"))?;
        units.all.push(Unit { ucum, property, to_base, exact, names });
    }
    Ok(units)
}

fn load_metric(
    entry: MetricEntry,
    listed: &[ValueEntry],
    units: &Units,
    keys: &HashMap<String, usize>,
) -> Result<Metric, CatalogueError> {
    let kind = entry.kind.unwrap_or(ValueKind::Quantity);
    let mut pairs = Vec::with_capacity(entry.pair.len());
    let says_only_unit = entry.pair.iter().any(|pair| pair.only_unit);
    for pair in entry.pair {
        pairs.push(load_pair(pair, kind, units).map_err(|fault| unsound(&entry.key, fault))?);
    }
    if pairs.is_empty() {
        return Err(unsound(&entry.key, "the metric has no code"));
    }
    let properties: HashSet<_> = pairs.iter().map(|pair| &pair.property).collect();
    if properties.len() < pairs.len() {
        return Err(unsound(
            &entry.key,
            "a property must select one pair, and two pairs have units of the same property",
        ));
    }
    let first = pairs.remove(0);
    let mut also = Vec::with_capacity(entry.also.len());
    for (name, code) in entry.also {
        also.push((system(&name).ok_or_else(|| unsound(&entry.key, "unknown code system"))?, code));
    }
    let mut components = Vec::with_capacity(entry.components.len());
    for component in &entry.components {
        components.push(*keys.get(component).ok_or_else(|| unsound(&entry.key, "unknown component"))?);
    }
    if (kind == ValueKind::Panel) == components.is_empty() {
        return Err(unsound(&entry.key, "a panel needs components, and no other metric has any"));
    }
    let mut values = Vec::with_capacity(listed.len());
    for value in listed {
        let ValueEntry { system: name, code, display, spellings } = value.clone();
        let system = system(&name).ok_or_else(|| unsound(&entry.key, "unknown code system"))?;
        let display = display.ok_or_else(|| unsound(&code, "the value has no display"))?;
        values.push(CodedValue { system, code, display, spellings });
    }
    let has_one_unit = has_one_unit(&first, pairs.len(), says_only_unit).map_err(|fault| unsound(&entry.key, fault))?;
    let default_unit = entry.default_unit.react_native_health;
    if let Some(unit) = &default_unit {
        default_fits(unit, has_one_unit, units).map_err(|fault| unsound(&entry.key, fault))?;
    }
    Ok(Metric {
        medisante: entry.spellings.medisante,
        healthkit: entry.spellings.healthkit,
        health_auto_export: entry.spellings.health_auto_export,
        react_native_health: default_unit,
        has_one_unit,
        display: entry.display.ok_or_else(|| unsound(&entry.key, "the metric has no display"))?,
        key: entry.key,
        kind,
        first,
        others: pairs,
        also,
        components,
        values,
    })
}

/// Returns whether the metric allows one unit only; see [`Metric::only_unit`].
fn has_one_unit(first: &CodeUnit, other_pairs: usize, says_so: bool) -> Result<bool, &'static str> {
    let is_single = first.unit.is_some() && other_pairs == 0;
    // A number without a percent sign may be a fraction of one.
    let is_evident = is_single
        && first.unit.as_deref() != Some("%")
        && first.accepted.iter().all(|unit| unit.conversion.is_identity());
    match (says_so, is_single, is_evident) {
        (true, false, _) => Err("only_unit needs exactly one pair with a unit"),
        (true, true, true) => Err("only_unit is redundant, because the accepted units imply it"),
        (says_so, _, is_evident) => Ok(says_so || is_evident),
    }
}

fn default_fits(unit: &str, has_one_unit: bool, units: &Units) -> Result<(), &'static str> {
    if has_one_unit {
        return Err("a metric with one unit needs no default unit");
    }
    if units.all.iter().any(|known| known.ucum == unit) { Ok(()) } else { Err("the default unit is not in units.toml") }
}

fn load_pair(entry: PairEntry, kind: ValueKind, units: &Units) -> Result<CodeUnit, &'static str> {
    let range = match (&entry.range, entry.why) {
        (Some([min, max]), Some(why)) => Some(Range {
            min: Decimal::parse(min).map_err(|_| "the minimum of the range is not a number")?,
            max: Decimal::parse(max).map_err(|_| "the maximum of the range is not a number")?,
            why,
        }),
        (None, None) => None,
        _ => return Err("a range needs its reason"),
    };
    if range.as_ref().is_some_and(|range| !range.min.cmp_value(&range.max).is_lt()) {
        return Err("the minimum of the range is not below its maximum");
    }
    if (kind == ValueKind::Quantity) != (entry.unit.is_some() && range.is_some()) {
        return Err("a quantity needs a unit and a range, and no other metric has them");
    }
    let (property, accepted) = match &entry.unit {
        Some(unit) => {
            let position = *units.exact.get(unit).ok_or("the unit is not in units.toml")?;
            let canonical = units.all.get(position).ok_or("the unit is not in units.toml")?;
            (Some(canonical.property.clone()), accepted(canonical, entry.share, &entry.same, units)?)
        }
        None => (None, Vec::new()),
    };
    Ok(CodeUnit {
        system: system(&entry.system).ok_or("unknown code system")?,
        code: entry.code,
        display: entry.display,
        unit: entry.unit,
        property,
        range,
        accepted,
    })
}

fn accepted(canonical: &Unit, share: bool, same: &[String], units: &Units) -> Result<Vec<Accepted>, &'static str> {
    let from_base = canonical.to_base.inverse().ok_or("the unit does not convert back")?;
    let hundredfold = Conversion::new(100, 0, 1).ok_or("a factor of 100 is not a valid conversion")?;
    let mut accepted = Vec::new();
    for (position, unit) in units.all.iter().enumerate() {
        let conversion = if unit.property == canonical.property {
            unit.to_base.then(&from_base).ok_or("the conversion overflows")?
        } else if share && unit.ucum == "1" {
            hundredfold
        } else if same.contains(&unit.ucum) {
            Conversion::IDENTITY
        } else {
            continue;
        };
        accepted.push(Accepted { position, ucum: unit.ucum.clone(), conversion });
    }
    // The canonical unit comes first, because most values arrive in it.
    accepted.sort_by_key(|unit| unit.ucum != canonical.ucum);
    Ok(accepted)
}

fn index(catalogue: &mut Catalogue, metric: &Metric) -> Result<(), CatalogueError> {
    let position = catalogue.metrics.len();
    for (index, spellings) in [
        (&mut catalogue.medisante, &metric.medisante),
        (&mut catalogue.healthkit, &metric.healthkit),
        (&mut catalogue.health_auto_export, &metric.health_auto_export),
    ] {
        for spelling in spellings {
            if index.insert(spelling.to_ascii_lowercase(), position).is_some() {
                return Err(unsound(spelling, "two metrics have this spelling"));
            }
        }
    }
    let own = metric.codes().map(|pair| (pair.system, pair.code.as_str()));
    for (system, code) in own.chain(metric.alternate_codes()) {
        let codes = catalogue.codes.iter_mut().find(|(name, _)| *name == system);
        let Some((_, codes)) = codes else { return Err(unsound(&metric.key, "unknown code system")) };
        // An MDC code does not determine the unit, so several pairs of a metric may have the same code.
        if codes.insert(code.to_owned(), position).is_some_and(|other| other != position) {
            return Err(unsound(code, "two metrics have this code"));
        }
    }
    Ok(())
}

/// Returns the URI of a code system by its name in the files.
pub(super) fn system(name: &str) -> Option<&'static str> {
    SYSTEMS.iter().find(|(known, _)| *known == name).map(|(_, system)| *system)
}

fn unsound(place: &str, fault: &'static str) -> CatalogueError {
    CatalogueError::Unsound { place: place.to_owned(), fault, line: None }
}
