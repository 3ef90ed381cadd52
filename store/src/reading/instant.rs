//! The original text of a time, which is stored only when it cannot be derived from the time.
//!
//! Each format usually writes times in one notation, so the text can be derived from the instant, the sender's offset and the
//! precision. A text in that notation is stored as NULL. Any other text is stored as it is. When the source has no text at all, the
//! row has an empty text.

use std::borrow::Cow;

use schemas::{
    event::{Precision, Reading},
    format::{Format, Provider},
};
use time::{Duration, OffsetDateTime};

/// Room for the longest rendering, `-262143-01-01T00:00:00.000000+00:00`.
const LONGEST: usize = 40;

/// Returns the value of the column `measured_text`.
pub(super) fn stored_from(reading: &Reading) -> Option<Cow<'_, str>> {
    stored(reading, reading.measured_from, reading.measured_text.as_deref())
}

/// Returns the value of the column `measured_until_text`.
pub(super) fn stored_until(reading: &Reading) -> Option<Cow<'_, str>> {
    stored(reading, reading.measured_until, reading.measured_until_text.as_deref())
}

fn stored<'r>(reading: &'r Reading, instant: Option<i64>, text: Option<&'r str>) -> Option<Cow<'r, str>> {
    let rendered = instant.and_then(|instant| rendered(reading, instant));
    (text != rendered.as_deref()).then(|| text.unwrap_or_default().into())
}

/// Returns the original text of a time from the value of its column.
pub(super) fn restored(reading: &Reading, instant: Option<i64>, stored: Option<String>) -> Option<String> {
    match stored {
        None => instant.and_then(|instant| rendered(reading, instant)),
        Some(text) => (!text.is_empty()).then_some(text),
    }
}

/// The notation of a format: how it writes offsets, and the separators between date, time and offset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// RFC 3339: `2026-02-01T07:30:00+01:00`, `Z` at UTC.
    Rfc3339,
    /// As react-native-health writes times: `2026-02-01T07:30:00.000+0100`.
    NoColon,
    /// As Apple's export and Health Auto Export write times: `2026-02-01 07:30:00 +0100`.
    Spaces,
}

fn style(reading: &Reading) -> Style {
    match (reading.provenance.format, reading.provider) {
        (Format::HealthAutoExport | Format::ExportXml, _) => Style::Spaces,
        (Format::StandardJson, Provider::HealthKit) => Style::NoColon,
        (Format::StandardJson | Format::StandardXml | Format::FhirJson | Format::FhirXml, _) => Style::Rfc3339,
    }
}

/// Returns the text of an instant in the notation of the format; `None` when the instant cannot be written in it.
fn rendered(reading: &Reading, instant: i64) -> Option<String> {
    let style = style(reading);
    let offset = reading.offset_minutes;
    let utc = OffsetDateTime::from_unix_timestamp_nanos(i128::from(instant) * 1_000).ok()?;
    let local = utc.checked_add(Duration::minutes(i64::from(offset.unwrap_or(0))))?;
    if !(0..=9999).contains(&local.year()) {
        return None;
    }
    let mut text = String::with_capacity(LONGEST);
    digits(&mut text, local.year().unsigned_abs(), 4);
    let precision = reading.time_precision;
    if precision == Precision::None {
        return None;
    }
    if precision == Precision::Year {
        return Some(text);
    }
    text.push('-');
    digits(&mut text, u8::from(local.month()).into(), 2);
    if precision == Precision::Month {
        return Some(text);
    }
    text.push('-');
    digits(&mut text, local.day().into(), 2);
    if precision == Precision::Day {
        return Some(text);
    }
    text.push(if style == Style::Spaces { ' ' } else { 'T' });
    digits(&mut text, local.hour().into(), 2);
    text.push(':');
    digits(&mut text, local.minute().into(), 2);
    if precision != Precision::Minute {
        text.push(':');
        digits(&mut text, local.second().into(), 2);
    }
    let fraction = match precision {
        Precision::Millisecond => Some((local.millisecond().into(), 3)),
        Precision::Microsecond => Some((local.microsecond(), 6)),
        Precision::Nanosecond => Some((local.nanosecond(), 9)),
        Precision::None
        | Precision::Year
        | Precision::Month
        | Precision::Day
        | Precision::Minute
        | Precision::Second => None,
    };
    if let Some((fraction, length)) = fraction {
        text.push('.');
        digits(&mut text, fraction, length);
    }
    if let Some(offset) = offset {
        zone(&mut text, offset, style);
    }
    Some(text)
}

fn zone(text: &mut String, offset: i32, style: Style) {
    if offset == 0 && style == Style::Rfc3339 {
        text.push('Z');
        return;
    }
    if style == Style::Spaces {
        text.push(' ');
    }
    text.push(if offset < 0 { '-' } else { '+' });
    let minutes = offset.unsigned_abs();
    digits(text, minutes / 60, 2);
    if style == Style::Rfc3339 {
        text.push(':');
    }
    digits(text, minutes % 60, 2);
}

/// Appends a number with leading zeros.
fn digits(text: &mut String, number: u32, length: u32) {
    for place in (0..length).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        text.push(char::from(b'0' + u8::try_from(digit).unwrap_or_default()));
    }
}
