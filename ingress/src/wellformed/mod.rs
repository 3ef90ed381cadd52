//! Checks whether a body is well-formed, in one pass and without building a tree. Its meaning is interpreted by the normalizer
//! only.

mod json;
mod malformed;
pub(crate) mod shape;
pub(crate) mod xml;

use schemas::{
    format::{Format, Provider},
    limit::ITEMS_MAX,
};

pub use malformed::Malformed;

/// What is known about a well-formed body without interpreting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The number of elements of a top-level JSON array; `None` if the top level is not an array.
    pub array_items: Option<usize>,
}

/// Checks a payload in one pass.
///
/// # Errors
/// [`Malformed`].
pub fn payload(provider: Provider, format: Format, body: &[u8]) -> Result<Checked, Malformed> {
    let text = text(body)?;
    if format.is_xml() {
        let root = xml::check(text.as_bytes(), format == Format::ExportXml, usize::MAX)?;
        shape::xml(format, root)?;
        return Ok(Checked { array_items: None });
    }
    let items_max = if format.has_item_receipts(provider) { ITEMS_MAX } else { usize::MAX };
    let mut shape = shape::JsonShape::new(provider, format);
    let top = json::check(text, items_max, &mut |name, value| shape.member(name, value))?;
    shape.check(&top)?;
    Ok(Checked { array_items: top.array_items })
}

/// Returns the body as text.
///
/// # Errors
/// [`Malformed::Empty`] and [`Malformed::NotUtf8`].
pub fn text(body: &[u8]) -> Result<&str, Malformed> {
    if body.is_empty() {
        return Err(Malformed::Empty);
    }
    std::str::from_utf8(body).map_err(|error| Malformed::NotUtf8 { at: error.valid_up_to() })
}

/// Checks that a body is JSON of any shape.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn any_json(text: &str) -> Result<(), Malformed> {
    json::check(text, usize::MAX, &mut |_, _| {}).map(drop)
}
