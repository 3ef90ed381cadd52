//! Describes why the shape of a well-formed payload is wrong: which field is at fault and what the field must be. The text
//! never contains the value that was found, nor a name that the sender invented ([`redact`]).

use std::borrow::Cow;

use schemas::rejection::Reason;
use serde::Deserialize;
use serde_path_to_error::Segment;

use crate::{
    redact,
    refusal::{Refused, refused},
};

/// A field that does not have the shape that its format requires.
#[derive(Clone)]
pub(crate) struct ShapeError {
    /// The path of the field; empty if the fault is in the whole text that was read.
    path: String,
    /// What is wrong with the field, such as `must be an object`.
    fault: Cow<'static, str>,
}

impl ShapeError {
    /// A fault of the whole text that was read, not of a field of it.
    pub(crate) const fn whole(fault: &'static str) -> Self {
        Self { path: String::new(), fault: Cow::Borrowed(fault) }
    }

    /// Prefixes the path with `name`, the name under which the enclosing object holds this value.
    #[must_use]
    pub(crate) fn within(self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{name}{dot}{}", self.path), ..self }
    }

    /// If the fault is a missing field, adds what the field must be, such as `an object`: serde does not report this.
    #[must_use]
    pub(crate) fn expecting(self, fields: &[(&str, &str)]) -> Self {
        let name = self.path.rsplit('.').next().unwrap_or_default();
        let expected = fields.iter().find(|(field, _)| self.fault == MISSING && *field == name);
        match expected {
            Some((_, expected)) => Self { fault: Cow::Owned(format!("is required and must be {expected}")), ..self },
            None => self,
        }
    }

    /// Returns the refusal. `whole` names the whole text that was read, such as `the payload`; it is used if the path is empty.
    pub(crate) fn refused(self, whole: &str) -> Refused {
        let path = if self.path.is_empty() { whole } else { &self.path };
        Refused { detail: Cow::Owned(format!("{path} {}", self.fault)), ..UNSPECIFIC }
    }
}

const MISSING: &str = "is missing";
const UNSPECIFIC: Refused = refused(Reason::UnexpectedShape, "");

/// Finds out why a JSON text cannot be read as a `T`. The text is parsed a second time, so that only refused texts pay for the
/// explanation.
pub(crate) fn shape_error<'a, T: Deserialize<'a>>(text: &'a str) -> ShapeError {
    let mut json = serde_json::Deserializer::from_str(text);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut json) else {
        return ShapeError::whole("must be a single value");
    };
    let mut path = String::new();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => path = format!("{path}[{index}]"),
            Segment::Map { key } => push(&mut path, &redact::name(key)),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let message = error.inner().to_string();
    for (of_member, fault) in [("missing field `", MISSING), ("duplicate field `", "is given more than once")] {
        if let Some((member, _)) = message.strip_prefix(of_member).and_then(|rest| rest.split_once('`')) {
            push(&mut path, member);
            return ShapeError { path, fault: Cow::Borrowed(fault) };
        }
    }
    let fault = if message.starts_with("trailing characters") { "has too many elements" } else { expected(&message) };
    ShapeError { path, fault: Cow::Borrowed(fault) }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Returns what serde's error message says was expected. What the message says was found is dropped, because that may be a
/// value. serde writes the found value before the expected one, so the last `, expected ` in the message is serde's own; and
/// only the texts listed here are passed on.
fn expected(message: &str) -> &'static str {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    match message.rsplit_once(", expected ").map(|(_, expected)| expected) {
        Some("a string") => "must be text",
        Some("a number or text") => "must be a number or text",
        Some("a boolean") => "must be true or false",
        Some("an object") => "must be an object",
        Some("an object whose names differ") => "must be an object without duplicate member names",
        Some("an object of at most 1,000 members") => "must be an object of at most 1,000 members",
        Some("an array" | "a sequence") => "must be an array",
        Some("an array of numbers") => "must be an array of numbers",
        Some("a tuple of size 2") => "must be an array of two elements",
        Some(_) | None => "does not have the shape of the format",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_name_that_may_be_content_is_not_in_the_path() {
        type Names = HashMap<String, Vec<bool>>;
        let detail = |json: &str| shape_error::<Names>(json).refused("the payload").detail.into_owned();
        assert_eq!(detail(r#"{"Anna 1985":[true,"Anna"]}"#), "<up to 16 bytes>[1] must be true or false");
        assert_eq!(detail(r#"{"mealTag":7}"#), "mealTag must be an array");
    }
}
