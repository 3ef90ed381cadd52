//! The annotations of a message: what it says about a measurement beside the value.

use catalogue::{Vocabulary, metric_by_spelling};
use schemas::{
    event::{Coding, Component, Reading, Value},
    identity::ContentDigest,
};
use serde_json::value::RawValue;

use super::wire::read;
use crate::json::{Members, Word};

/// The code system of annotations. Medisanté publishes none.
const ANNOTATION: &str = "urn:medisante:annotation";

/// Adds the annotations of a message to the one reading that they are about: the blood pressure if the message has one, else
/// the reading that `metadata.measurementType` names, else the first reading by name, so that the order of the members does not
/// matter. Annotations are part of the reading's content, so that a corrected annotation makes a new version.
pub(super) fn annotate(readings: &mut [Reading], measurement_type: Option<&str>, raw: &RawValue) {
    let annotations = annotations(raw);
    if annotations.is_empty() {
        return;
    }
    let named = measurement_type.and_then(|name| metric_by_spelling(Vocabulary::Medisante, name));
    // Matches `ECG` to ecgSamples, and `BodyWeightComposition` to bodyWeight.
    let is_like = |name: &str| {
        let (name, kind) = (name.to_ascii_lowercase(), measurement_type.unwrap_or_default().to_ascii_lowercase());
        !kind.is_empty() && (name.starts_with(&kind) || kind.starts_with(&name))
    };
    let is_about = |reading: &Reading| {
        let Some(name) = reading.source_codes.first() else { return (0, String::new()) };
        let is_named = named.is_some_and(|metric| metric.codes().any(|code| code.code() == reading.code.code));
        (if is_named || is_like(&name.code) { 1 } else { 2 }, name.code.to_string())
    };
    if let Some(reading) = readings.iter_mut().min_by_key(|reading| is_about(reading)) {
        let mut content = ContentDigest::from(reading.content);
        let mut sorted: Vec<&Component> = annotations.iter().collect();
        sorted.sort_by_key(|annotation| &annotation.code.code);
        for Component { code, value, .. } in sorted {
            content.literal(&code.code);
            content.optional(match value {
                Value::Text(text) => Some(text),
                Value::Boolean(true) => Some("true"),
                Value::Boolean(false)
                | Value::Quantity(_)
                | Value::Coded(_)
                | Value::Waveform(_)
                | Value::Document(_)
                | Value::Absent(_) => None,
            });
        }
        reading.content = content.finish();
        reading.components.extend(annotations);
    }
}

fn annotations(raw: &RawValue) -> Vec<Component> {
    match read::<Members<'_>>(raw) {
        Some(members) => members.0.into_iter().filter_map(|(name, raw)| annotation(&name.0, raw)).collect(),
        // Anything else is stored as it was written: a list, a text, an object with a duplicate name or with more names than
        // are read.
        None => annotation("annotations", raw).into_iter().collect(),
    }
}

/// Maps an annotation as it was written. Medisanté does not document what most annotations mean, so the mapping gives them no
/// meaning.
fn annotation(name: &str, raw: &RawValue) -> Option<Component> {
    let raw_text = raw.get();
    let value = match raw_text {
        "null" => return None,
        "true" | "\"true\"" => Value::Boolean(true),
        "false" | "\"false\"" => Value::Boolean(false),
        // Numbers are texts too: their unit is not documented.
        _ => Value::Text(read::<Word<'_>>(raw).map_or_else(|| raw_text.to_owned(), |word| word.0.into_owned())),
    };
    let code = Coding { system: ANNOTATION.into(), code: name.to_owned().into(), display: None };
    Some(Component { code, source_codes: Vec::new(), value, flags: Vec::new() })
}
