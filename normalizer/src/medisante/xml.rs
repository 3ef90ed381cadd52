//! Converts a message in XML to the JSON with the same content. Medisanté publishes no schema, so the conversion is tolerant: a
//! member may be an element or an attribute, repeated elements are a list, and the text of an element with attributes is its
//! `value`.
//!
//! XML does not distinguish numbers from texts. The mapping does not need to either, except in annotations: there, a text that
//! has the form of a number is a number.

use std::{borrow::Cow, collections::HashMap};

use schemas::rejection::Reason;
use serde_json::value::RawValue;

use crate::{
    refusal::{Refused, refused},
    xml::Element,
};

/// More names than the children of any element of a message have, as for the members of a JSON object.
const NAMES_MAX: usize = 1_000;
/// The names of the list of samples. They are always converted to a list, even with a single element.
const SAMPLES: [&str; 3] = ["samples", "values", "data"];

/// Converts an element to JSON.
pub(super) fn json(root: Element<'_, '_>) -> Result<String, Refused> {
    let mut json = String::with_capacity(root.outer().len());
    element(&mut json, "", root)?;
    // The text is kept for as long as the message is mapped, so unused capacity is released.
    json.shrink_to_fit();
    Ok(json)
}

/// Writes an element. `within` is the name of its parent.
fn element(json: &mut String, within: &str, of: Element<'_, '_>) -> Result<(), Refused> {
    let text = of.text();
    let text = text.trim_ascii();
    let (has_attributes, has_children) = (of.attributes().next().is_some(), of.children().next().is_some());
    match (has_attributes || has_children, text.is_empty()) {
        (false, true) => json.push_str("null"),
        (false, false) => word(json, within, of.name(), text),
        (true, true) => members(json, of, None)?,
        (true, false) if !has_children => members(json, of, Some(text))?,
        // Text between elements has no meaning in a message. Both are written as a list, which no mapping accepts.
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
    let has_value = value.is_some();
    let value = value.map(|text| ("value", Cow::Borrowed(text)));
    for (number, (name, text)) in of.attributes().chain(value).enumerate() {
        json.push(if number == 0 { '{' } else { ',' });
        string(json, name);
        json.push(':');
        word(json, of.name(), name, text.trim_ascii());
    }
    let mut separator = if has_value || of.attributes().next().is_some() { ',' } else { '{' };
    let groups = Groups::of(of)?;
    for (name, group) in &groups.numbers {
        json.push(std::mem::replace(&mut separator, ','));
        string(json, name);
        json.push(':');
        let is_list = group.len() > 1 || (is(of.name(), "ecgSamples") && SAMPLES.contains(name));
        for (number, each) in groups.elements(group).enumerate() {
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

/// The children of an element, grouped by name in the order in which the names first occur. Children are stored by their index,
/// because there may be millions.
#[derive(Default)]
pub(super) struct Groups<'t, 'a> {
    holder: Option<Element<'t, 'a>>,
    numbers: Vec<(&'a str, Vec<u32>)>,
}

impl<'t, 'a> Groups<'t, 'a> {
    fn of(holder: Element<'t, 'a>) -> Result<Self, Refused> {
        let (mut numbers, mut index_by_name) = (Vec::<(_, Vec<u32>)>::new(), HashMap::new());
        for child in holder.children() {
            let index = *index_by_name.entry(child.name()).or_insert(numbers.len());
            if index == numbers.len() {
                numbers.push((child.name(), Vec::new()));
            }
            if numbers.len() > NAMES_MAX {
                return Err(refused(
                    Reason::UnexpectedShape,
                    "an element has child elements with more than 1,000 different names",
                ));
            }
            if let Some((_, group)) = numbers.get_mut(index) {
                group.push(child.number());
            }
        }
        for (_, group) in &mut numbers {
            group.shrink_to_fit();
        }
        Ok(Self { holder: Some(holder), numbers })
    }

    /// The groups of the element at the end of a path; empty if the path does not exist.
    pub(super) fn at(root: Element<'t, 'a>, path: &[&str]) -> Result<Self, Refused> {
        let end = path.iter().try_fold(root, |at, name| at.children().find(|child| is(child.name(), name)));
        end.map_or_else(|| Ok(Self::default()), Self::of)
    }

    /// The elements with these names as they were sent; `None` if there are none, for example because the members are
    /// attributes.
    pub(super) fn outer(&self, names: &[&str]) -> Option<String> {
        let named = self.numbers.iter().filter(|(found, _)| names.iter().any(|name| is(found, name)));
        let elements = || named.clone().flat_map(|(_, group)| self.elements(group));
        let mut text = String::with_capacity(elements().map(|element| element.outer().len()).sum());
        text.extend(elements().map(Element::outer));
        (!text.is_empty()).then_some(text)
    }

    fn elements(&self, group: &[u32]) -> impl Iterator<Item = Element<'t, 'a>> {
        group.iter().filter_map(|number| self.holder?.numbered(*number))
    }
}

fn word(json: &mut String, within: &str, name: &str, text: &str) {
    let is_boolean = matches!(text, "true" | "false");
    let is_in_range = if name == "isInRange" { boolean(text) } else { None };
    if let Some(value) = is_in_range {
        json.push_str(value);
    } else if is(within, "documents") {
        // Base64 in XML may contain line breaks (XML Schema, part 2, section 3.2.16).
        string(json, &text.split_ascii_whitespace().collect::<String>());
    } else if is(within, "annotations") && (is_boolean || is_number(text)) {
        json.push_str(text);
    } else {
        string(json, text);
    }
}

/// A boolean (XML Schema, part 2, section 3.2.2) as JSON.
fn boolean(text: &str) -> Option<&'static str> {
    match text {
        "true" | "1" => Some("true"),
        "false" | "0" => Some("false"),
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|char: char| char == '-' || char.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Medisanté's names are compared without regard to ASCII case.
fn is(name: &str, known: &str) -> bool {
    name.eq_ignore_ascii_case(known)
}

fn string(json: &mut String, text: &str) {
    // Serializing a string to JSON cannot fail.
    json.push_str(&serde_json::to_string(text).unwrap_or_default());
}
