//! How a word of a sender may be shown: as it is where it looks like a name, else by its length only.
//!
//! A sender may put values, dates or ids into names. So a name is shown only where it is short and of few characters, and, but
//! for codes, has few digits; a field's or a metric's also begins with a letter.

use std::borrow::Cow;

use schemas::spelling::{has_few_digits, is_name, is_plain};

/// The name of a field or of a metric, or how long it is.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    if is_name(text) { Cow::Borrowed(text) } else { length(text) }
}

/// A unit, or how long it is.
pub(crate) fn unit(text: &str) -> Cow<'_, str> {
    if has_few_digits(text) { code(text) } else { length(text) }
}

/// A code, which may have digits, or how long it is.
pub(crate) fn code(text: &str) -> Cow<'_, str> {
    if is_plain(text) { Cow::Borrowed(text) } else { length(text) }
}

/// How long a text is.
pub(crate) fn length(text: &str) -> Cow<'static, str> {
    Cow::Borrowed(match text.len() {
        0..=16 => "<up to 16 bytes>",
        17..=64 => "<up to 64 bytes>",
        65..=256 => "<up to 256 bytes>",
        _ => "<over 256 bytes>",
    })
}
