//! Writes a number as text.

use std::fmt::Display;

/// The largest number of places before or after the point for which zeros are written instead of an exponent.
const PLAIN_PLACES_MAX: usize = 25;

/// Returns `magnitude × 10^exponent` as text.
pub(super) fn render<T: Display>(magnitude: &T, negative: bool, exponent: i32) -> String {
    let mut text = String::with_capacity(24);
    if negative {
        text.push('-');
    }
    let digits = magnitude.to_string();
    let places = exponent.unsigned_abs() as usize;
    if exponent >= 0 {
        if digits == "0" {
            text.push('0');
        } else if exponent > 0 && digits.len() + places > PLAIN_PLACES_MAX {
            scientific(&mut text, &digits, exponent);
        } else {
            text.push_str(&digits);
            text.extend(std::iter::repeat_n('0', places));
        }
    } else if let Some((whole, fraction)) = digits.split_at_checked(digits.len().saturating_sub(places))
        && !whole.is_empty()
    {
        text.push_str(whole);
        text.push('.');
        text.push_str(fraction);
    } else if places > PLAIN_PLACES_MAX && places > digits.len() {
        scientific(&mut text, &digits, exponent);
    } else {
        text.push_str("0.");
        text.extend(std::iter::repeat_n('0', places - digits.len()));
        text.push_str(&digits);
    }
    text
}

fn scientific(text: &mut String, digits: &str, exponent: i32) {
    let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
    text.push_str(first);
    if !rest.is_empty() {
        text.push('.');
        text.push_str(rest);
    }
    let shift = exponent + i32::try_from(rest.len()).unwrap_or(i32::MAX);
    text.push('e');
    text.push_str(&shift.to_string());
}
