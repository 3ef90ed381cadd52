//! A message in XML as the JSON of the same content. Medisanté publishes no schema, so what is read is tolerant: a member
//! may be an element or an attribute, what repeats is a list, and an element's text beside attributes is its `value`.
//!
//! XML does not tell a number from a text. The mapping does not either, but in annotations; there, what is written like a
//! number is one.

use std::collections::HashMap;

use schemas::rejection::Reason;
use serde_json::value::RawValue;

use crate::{
    observed::{Refused, refused},
    xml::Element,
};

/// More names than any element of a message has, as in a JSON object.
const NAMES_MAX: usize = 1_000;
/// The names of the list of samples, which may hold one.
const SAMPLES: [&str; 3] = ["samples", "values", "data"];

/// The JSON of an element.
pub(super) fn json(root: Element<'_, '_>) -> Result<String, Refused> {
    let mut json = String::with_capacity(root.outer().len());
    element(&mut json, "", root)?;
    Ok(json)
}

/// Writes an element; `within` is the name of the one that holds it.
fn element(json: &mut String, within: &str, of: Element<'_, '_>) -> Result<(), Refused> {
    let text = of.text();
    let text = text.trim_ascii();
    let (has_attributes, has_children) = (of.attributes().next().is_some(), of.children().next().is_some());
    match (has_attributes || has_children, text.is_empty()) {
        (false, true) => json.push_str("null"),
        (false, false) => word(json, within, of.name(), text),
        (true, true) => members(json, of, None)?,
        (true, false) if !has_children => members(json, of, Some(text))?,
        // Text between elements has no meaning in a message; nothing reads a list of both.
        (true, false) => {
            json.push('[');
            string(json, text);
            json.push(',');
            members(json, of, None)?;
            json.push(']');
        }
    }
    Ok(())
}

fn members(json: &mut String, of: Element<'_, '_>, value: Option<&str>) -> Result<(), Refused> {
    let attributes = of.attributes().map(|(name, value)| (name, value.trim_ascii()));
    for (number, (name, text)) in attributes.chain(value.map(|text| ("value", text))).enumerate() {
        json.push(if number == 0 { '{' } else { ',' });
        string(json, name);
        json.push(':');
        word(json, of.name(), name, text);
    }
    let mut separator = if value.is_some() || of.attributes().next().is_some() { ',' } else { '{' };
    for (name, elements) in Groups::of(of)?.0 {
        json.push(std::mem::replace(&mut separator, ','));
        string(json, name);
        json.push(':');
        let is_list = elements.len() > 1 || (is(of.name(), "ecgSamples") && SAMPLES.contains(&name));
        for (number, each) in elements.into_iter().enumerate() {
            if is_list {
                json.push(if number == 0 { '[' } else { ',' });
            }
            element(json, of.name(), each)?;
        }
        json.push_str(if is_list { "]" } else { "" });
    }
    json.push('}');
    Ok(())
}

/// The elements right below one by their names, in the order in which these first occur.
#[derive(Default)]
pub(super) struct Groups<'t, 'a>(Vec<(&'a str, Vec<Element<'t, 'a>>)>);

impl<'t, 'a> Groups<'t, 'a> {
    fn of(holder: Element<'t, 'a>) -> Result<Self, Refused> {
        let (mut groups, mut places) = (Vec::new(), HashMap::new());
        for child in holder.children() {
            let place = *places.entry(child.name()).or_insert(groups.len());
            if place == groups.len() {
                groups.push((child.name(), Vec::new()));
            }
            if groups.len() > NAMES_MAX {
                return Err(refused(Reason::UnexpectedShape, "an element holds elements of more than 1,000 names"));
            }
            if let Some((_, elements)) = groups.get_mut(place) {
                elements.push(child);
            }
        }
        Ok(Self(groups))
    }

    /// Those at the end of a path; none where it leads nowhere.
    pub(super) fn at(root: Element<'t, 'a>, path: &[&str]) -> Result<Self, Refused> {
        let end = path.iter().try_fold(root, |at, name| at.children().find(|child| is(child.name(), name)));
        end.map_or_else(|| Ok(Self::default()), Self::of)
    }

    /// The elements of these names as they stand in the body; none where they are attributes.
    pub(super) fn outer(&self, names: &[&str]) -> Option<String> {
        let named = self.0.iter().filter(|(found, _)| names.iter().any(|name| is(found, name)));
        let text: String = named.flat_map(|(_, elements)| elements).map(|element| element.outer()).collect();
        (!text.is_empty()).then_some(text)
    }
}

fn word(json: &mut String, within: &str, name: &str, text: &str) {
    let is_boolean = matches!(text, "true" | "false");
    if is(within, "documents") {
        // Base64 in XML may have line breaks (XML Schema, part 2, section 3.2.16).
        string(json, &text.split_ascii_whitespace().collect::<String>());
    } else if (name == "isInRange" && is_boolean) || (is(within, "annotations") && (is_boolean || is_number(text))) {
        json.push_str(text);
    } else {
        string(json, text);
    }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|char: char| char == '-' || char.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Medisanté's names differ only without regard to ASCII case.
fn is(name: &str, known: &str) -> bool {
    name.eq_ignore_ascii_case(known)
}

fn string(json: &mut String, text: &str) {
    // A string is always JSON.
    json.push_str(&serde_json::to_string(text).unwrap_or_default());
}
