//! Compares the catalogue with `catalogue.facts`, in both directions.

use std::collections::BTreeSet;

use catalogue::decimal::{Conversion, Decimal};
use catalogue::{Catalogue, CodeUnit, Metric, SYSTEMS, Unit, Vocabulary};
use num_bigint::BigInt;
use schemas::format::Defaults;

pub(super) const METRICS: &str = include_str!("../../src/metrics.toml");
pub(super) const UNITS: &str = include_str!("../../src/units.toml");
const FACTS: &str = include_str!("../catalogue.facts");

#[test]
fn the_catalogue_contains_exactly_the_facts() {
    let catalogue = Catalogue::parse(METRICS, UNITS).unwrap();
    let said: BTreeSet<String> =
        catalogue.units().iter().flat_map(of_unit).chain(catalogue.metrics().iter().flat_map(of_metric)).collect();
    let facts: BTreeSet<String> = written("").map(str::to_owned).collect();
    let unsaid: Vec<_> = facts.difference(&said).collect();
    let new: Vec<_> = said.difference(&facts).collect();
    assert!(unsaid.is_empty() && new.is_empty(), "the catalogue lacks {unsaid:#?}; the facts lack {new:#?}");
}

/// Returns the facts whose line starts with this word, or all facts when it is empty.
pub(super) fn written(word: &str) -> impl Iterator<Item = &'static str> {
    let lines = FACTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter(move |line| word.is_empty() || line.split(' ').next() == Some(word))
}

pub(super) fn of_unit(unit: &Unit) -> Vec<String> {
    let (ucum, property) = (unit.ucum(), unit.property());
    let mut facts = vec![format!("unit {ucum} ({property}): {}", example(ucum, unit.to_base()))];
    for (how, spellings) in [("spelled exactly", unit.exact()), ("in any case", unit.names())] {
        if !spellings.is_empty() {
            facts.push(format!("unit {ucum} {how}: {}", spellings.join(" | ")));
        }
    }
    facts
}

pub(super) fn of_metric(metric: &Metric) -> Vec<String> {
    let key = metric.key();
    let mut facts = vec![format!("{key} ({}): {}", metric.kind().as_str(), metric.display())];
    for (code, number) in metric.codes().zip(1..) {
        facts.extend(of_code(code).into_iter().map(|fact| format!("{key} code {number}{fact}")));
    }
    facts.extend(metric.alternate_codes().map(|(system, code)| format!("{key} also: {} {code}", name(system))));
    for vocabulary in Vocabulary::ALL {
        let (source, spellings) = (vocabulary.as_str(), metric.spellings(vocabulary));
        if !spellings.is_empty() {
            facts.push(format!("{key} in {source}: {}", spellings.join(" | ")));
        }
    }
    facts.extend(metric.only_unit().map(|unit| format!("{key} without a unit: {unit}")));
    for defaults in Defaults::ALL {
        let of = defaults.as_str();
        facts.extend(metric.default_unit(defaults).map(|unit| format!("{key} of {of} without a unit: {unit}")));
    }
    facts.extend(metric.components().zip(1..).map(|(part, number)| format!("{key} part {number}: {}", part.key())));
    for value in metric.coded_values() {
        let (system, code, spellings) = (name(value.system()), value.code(), value.spellings().join(" | "));
        facts.push(format!("{key} value {system} {code}: {}: {spellings}", value.display()));
    }
    facts
}

fn of_code(code: &CodeUnit) -> Vec<String> {
    let mut facts = vec![format!(": {} {}: {}", name(code.system()), code.code(), code.display())];
    if let (Some(unit), Some(property), Some(range)) = (code.unit(), code.property(), code.range()) {
        facts.push(format!(" in {unit} ({property}): {} to {}", range.min().as_str(), range.max().as_str()));
        let mut accepted: Vec<_> = code.accepted().iter().collect();
        accepted.sort_by_key(|accepted| accepted.ucum());
        let examples: Vec<_> =
            accepted.iter().map(|accepted| example(accepted.ucum(), accepted.conversion())).collect();
        facts.push(format!(" takes: {}", examples.join(" | ")));
    }
    facts
}

/// Returns an example: one value in a unit and its conversion. The value is such that a wrong shift or factor changes the result.
fn example(ucum: &str, conversion: &Conversion) -> String {
    let text = match ucum {
        "[degF]" => "98.6",
        "K" => "310.15",
        _ => "1",
    };
    let value = Decimal::parse(text).ok().unwrap();
    let converted = value.convert(conversion);
    let result = if converted.rounded {
        let (factor, shift, divisor) = conversion.parts();
        let exact = (value.to_rational() * BigInt::from(factor) + BigInt::from(shift)) / BigInt::from(divisor);
        exact.to_string()
    } else {
        converted.text
    };
    format!("{text} {ucum} is {result}")
}

fn name(system: &str) -> &'static str {
    SYSTEMS.iter().find(|(_, uri)| *uri == system).unwrap().0
}
