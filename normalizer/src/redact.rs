//! How a text of the sender is shown: as it is if it looks like a name, otherwise by its length only.
//!
//! A sender may put values, dates or identifiers into names. So a name is shown only if it is short, consists of the characters
//! of codes and units and, except for codes, has few digits. The name of a field or a metric must also begin with a letter.

use std::borrow::Cow;

use schemas::spelling::{has_few_digits, is_name, is_plain};

/// Returns the name of a field or a metric, or its length if it may not be shown.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    if is_name(text) { Cow::Borrowed(text) } else { length(text) }
}

/// Returns a unit, or its length if it may not be shown.
pub(crate) fn unit(text: &str) -> Cow<'_, str> {
    if has_few_digits(text) { code(text) } else { length(text) }
}

/// Returns a code, which may contain digits, or its length if it may not be shown.
pub(crate) fn code(text: &str) -> Cow<'_, str> {
    if is_plain(text) { Cow::Borrowed(text) } else { length(text) }
}

/// Returns a placeholder with the length of a text, rounded up to a few steps.
pub(crate) fn length(text: &str) -> Cow<'static, str> {
    Cow::Borrowed(match text.len() {
        0..=16 => "<up to 16 bytes>",
        17..=64 => "<up to 64 bytes>",
        65..=256 => "<up to 256 bytes>",
        _ => "<over 256 bytes>",
    })
}
