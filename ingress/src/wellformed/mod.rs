//! Whether a body is well-formed, in one pass and without a tree. What it means is the normalizer's matter.

mod json;
mod malformed;
pub(crate) mod shape;
pub(crate) mod xml;

use schemas::{
    format::{Format, Provider},
    limit::ITEMS_MAX,
};

pub use malformed::Malformed;

/// What a well-formed body shows without being understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many elements the top-level JSON array has; none where the top level is no array.
    pub array_items: Option<usize>,
}

/// Looks through a payload once.
///
/// # Errors
/// [`Malformed`].
pub fn payload(provider: Provider, format: Format, body: &[u8]) -> Result<Shape, Malformed> {
    let text = text(body)?;
    if format.is_xml() {
        let root = xml::check(text.as_bytes(), format == Format::ExportXml, usize::MAX)?;
        shape::xml(format, root)?;
        return Ok(Shape { array_items: None });
    }
    let items_max = if format.has_item_receipts(provider) { ITEMS_MAX } else { usize::MAX };
    let mut shape = shape::JsonShape::new(provider, format);
    let top = json::check(text, items_max, &mut |name, value| shape.member(name, value))?;
    shape.check(&top)?;
    Ok(Shape { array_items: top.array_items })
}

/// The body as text.
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
