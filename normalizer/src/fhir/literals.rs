//! The literals that the source wrote in an Observation. The content hash is computed from them, and also the reading id if the
//! Observation has no id of its own.

use schemas::identity::ContentDigest;

use super::{
    model::{Component, Concept, Effective, Given, Observation, Quantity, Text, Value},
    value::filled,
};

/// Separators before parts that most observations lack. The parts are appended only where they are present, so that the ids of
/// observations without them stay the same. No FHIR string contains the character U+0001 (datatypes.html#string).
const BODY_SITE: &str = "\u{1}bodySite";
const SUBJECT: &str = "\u{1}subject";

/// Receives literals.
pub(super) trait LiteralSink<'t> {
    /// Appends a literal, or a placeholder for an absent one.
    fn append(&mut self, text: Option<&'t str>);
}

impl<'t> LiteralSink<'t> for ContentDigest {
    fn append(&mut self, text: Option<&'t str>) {
        self.optional(text);
    }
}

/// A list of literals. An absent one is an empty text, which a FHIR primitive never is.
impl<'t> LiteralSink<'t> for Vec<&'t str> {
    fn append(&mut self, text: Option<&'t str>) {
        self.push(text.unwrap_or_default());
    }
}

/// The type, time, value and body site.
pub(super) fn observed<'t>(observation: &'t Observation<'_>, to: &mut impl LiteralSink<'t>) {
    concept(observation.code.as_ref(), to);
    match &observation.effective {
        Effective::Absent => to.append(None),
        Effective::Point(point) => to.append(Some(point)),
        Effective::Period { start, end } => {
            text(start.as_ref(), to);
            text(end.as_ref(), to);
        }
    }
    append_value(&observation.value, to);
    for Component { code, value, has_modifier: _, unknown: _ } in &observation.components {
        concept(code.as_ref(), to);
        append_value(value, to);
    }
    if let Some(site) = &observation.body_site {
        to.append(Some(BODY_SITE));
        concept(Some(site), to);
    }
}

/// The patient that the source means.
pub(super) fn subject<'t>(named: [Option<&'t str>; 2], to: &mut impl LiteralSink<'t>) {
    if named.iter().any(Option::is_some) {
        to.append(Some(SUBJECT));
        for literal in named {
            to.append(literal);
        }
    }
}

fn text<'t>(literal: Option<&'t Text<'_>>, to: &mut impl LiteralSink<'t>) {
    to.append(literal.map(AsRef::as_ref));
}

fn concept<'t>(concept: Option<&'t Concept<'_>>, to: &mut impl LiteralSink<'t>) {
    let Some(concept) = concept else { return to.append(None) };
    for coding in &concept.codings {
        text(coding.system.as_ref(), to);
        // If there is no code, the display takes its place.
        text(coding.code.as_ref().filter(|code| filled(Some(code)).is_some()).or(coding.display.as_ref()), to);
    }
    text(concept.text.as_ref(), to);
}

fn append_value<'t>(given: &'t Given<'_>, to: &mut impl LiteralSink<'t>) {
    text(given.absent.as_ref(), to);
    match &given.value {
        None | Some(Value::Several) => to.append(None),
        Some(Value::Quantity(value)) => quantity(value, to),
        Some(Value::Concept(value)) => concept(Some(value), to),
        Some(Value::Text(value) | Value::Integer(value)) => to.append(Some(value)),
        Some(Value::Boolean(value)) => to.append(Some(if *value { "true" } else { "false" })),
        Some(Value::Range { low: one, high: other } | Value::Ratio { numerator: one, denominator: other }) => {
            quantity(one, to);
            quantity(other, to);
        }
        Some(Value::Sampled(sampled)) => {
            quantity(&sampled.origin, to);
            for literal in [&sampled.period, &sampled.factor, &sampled.dimensions, &sampled.data] {
                text(literal.as_ref(), to);
            }
        }
        Some(Value::Period { start, end }) => {
            text(start.as_ref(), to);
            text(end.as_ref(), to);
        }
    }
}

fn quantity<'t>(quantity: &'t Quantity<'_>, to: &mut impl LiteralSink<'t>) {
    for literal in [&quantity.value, &quantity.comparator, &quantity.unit, &quantity.system, &quantity.code] {
        text(literal.as_ref(), to);
    }
}
