//! JSON bodies: checked once for encoding and depth, then parsed into typed structures that borrow from them.

mod elements;
mod literal;
mod members;
mod noted;

use schemas::{limit::DEPTH_MAX, rejection::Reason};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    refusal::{Refused, refused},
    shape::{ShapeError, shape_error},
};

pub(crate) use elements::Elements;
pub(crate) use literal::{Literal, Object, Word};
pub(crate) use members::Members;
pub(crate) use noted::{Noted, Wire, has_comparator, is_comparator};

/// Returns the body as text without surrounding white space, if it is UTF-8 and not nested too deeply. Whether it is JSON is
/// found out when it is parsed.
pub(crate) fn text(body: &[u8]) -> Result<&str, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| refused(Reason::Malformed, "the body is not UTF-8"))?;
    if is_too_deep(body) {
        return Err(refused(Reason::TooLarge, "the body is nested deeper than 64 levels"));
    }
    // White space as in RFC 8259, which does not include the form feed.
    Ok(text.trim_matches([' ', '\t', '\n', '\r']))
}

/// The refusal of a body that is not JSON.
pub(crate) const MALFORMED: Refused = refused(Reason::Malformed, "the body is not well-formed JSON");

/// Returns the refusal of a body that could not be read as a `T`: malformed if it is not JSON, otherwise what is wrong with its
/// shape. A typed parser stops at the first error, so it has not seen whether the rest is JSON.
pub(crate) fn broken<'a, T: Deserialize<'a>>(text: &'a str) -> Refused {
    refused_by(text, || shape_error::<T>(text))
}

/// Like [`broken`], for a caller that knows what is wrong with the shape.
pub(crate) fn refused_by(text: &str, fault: impl FnOnce() -> ShapeError) -> Refused {
    if is_json(text) { fault().refused("the payload") } else { MALFORMED }
}

/// Whether a text is JSON.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn is_too_deep(body: &[u8]) -> bool {
    // Most bodies have too few brackets to be nested too deeply, and counting brackets is ten times cheaper than tracking the
    // depth.
    if body.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= DEPTH_MAX {
        return false;
    }
    let mut depth = 0_usize;
    brackets(body).any(|bracket| {
        depth = if matches!(bracket, b'{' | b'[') { depth + 1 } else { depth.saturating_sub(1) };
        depth > DEPTH_MAX
    })
}

/// The brackets of a JSON text that are not inside a string.
pub(crate) fn brackets(body: &[u8]) -> impl Iterator<Item = u8> {
    let (mut in_string, mut escaped) = (false, false);
    body.iter().copied().filter(move |byte| {
        if in_string {
            match (escaped, byte) {
                (true, _) => escaped = false,
                (false, b'\\') => escaped = true,
                (false, b'"') => in_string = false,
                (false, _) => {}
            }
            return false;
        }
        in_string = *byte == b'"';
        matches!(byte, b'{' | b'[' | b'}' | b']')
    })
}
