//! JSON bodies: checked once for encoding and depth, then read by typed structures that borrow from them.

mod elements;
mod literal;
mod members;
mod noted;

use schemas::{limit::DEPTH_MAX, rejection::Reason};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    refusal::{Refused, refused},
    shape::{Misshapen, misshapen},
};

pub(crate) use elements::Elements;
pub(crate) use literal::{Literal, Object, Word};
pub(crate) use members::Members;
pub(crate) use noted::{Noted, Wire};

/// The body as text without the white space around it, if it is UTF-8 and not nested too deeply. Whether it is JSON is seen
/// by reading it.
pub(crate) fn text(body: &[u8]) -> Result<&str, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| refused(Reason::Malformed, "the body is not UTF-8"))?;
    if is_too_deep(body) {
        return Err(refused(Reason::TooLarge, "the body is nested deeper than 64 levels"));
    }
    // White space of RFC 8259: a form feed is none.
    Ok(text.trim_matches([' ', '\t', '\n', '\r']))
}

/// The refusal of a body that is no JSON.
pub(crate) const MALFORMED: Refused = refused(Reason::Malformed, "the body is not well-formed JSON");

/// Tells a body that is no JSON from one that is JSON and no `T`. A typed reader stops at the first surprise, so that it has not
/// seen what follows.
pub(crate) fn broken<'a, T: Deserialize<'a>>(text: &'a str) -> Refused {
    refused_by(text, || misshapen::<T>(text))
}

/// The same where the fault is known to the caller.
pub(crate) fn refused_by(text: &str, fault: impl FnOnce() -> Misshapen) -> Refused {
    if is_json(text) { fault().refused("the payload") } else { MALFORMED }
}

/// Whether a text is JSON.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn is_too_deep(body: &[u8]) -> bool {
    // Most bodies have too few brackets to be deep; to count them is ten times cheaper than to follow them.
    if body.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= DEPTH_MAX {
        return false;
    }
    let mut depth = 0_usize;
    brackets(body).any(|bracket| {
        depth = if matches!(bracket, b'{' | b'[') { depth + 1 } else { depth.saturating_sub(1) };
        depth > DEPTH_MAX
    })
}

/// The brackets of a JSON text that stand in no string of it.
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
