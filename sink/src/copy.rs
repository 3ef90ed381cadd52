//! Rows in the binary form of Postgres's COPY (PostgreSQL documentation, "COPY", file formats, binary).

use std::borrow::Cow;

/// Why a value cannot stand in a row. Names the kind of fault, never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// U+0000 in a text: Postgres cannot store it.
    #[error("a text has the character U+0000")]
    Nul,
    /// A time outside what timestamptz can hold, or a span that ends before it begins.
    #[error("a time cannot be stored")]
    Time,
    /// Not a decimal number, or with more digits than numeric can hold.
    #[error("a number cannot be stored")]
    Number,
    /// A text of more than 64 MiB.
    #[error("a text is too long to store")]
    TooLong,
}

/// Microseconds from 1970 to Postgres's epoch, 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// The years -4712 to 9999, well inside timestamptz, in microseconds since 1970.
const MICROS_MIN: i64 = -210_866_803_200_000_000;
const MICROS_MAX: i64 = 253_402_300_799_999_999;
const TEXT_BYTES_MAX: usize = 64 << 20;
/// 400 digits with an exponent of 400, and what a conversion may add to them.
const EXPONENT_MAX: usize = 1_000;

/// The start of the stream.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Its end.
pub(crate) const TRAILER: [u8; 2] = [0xff, 0xff];

/// A row being written; remembers the first fault, so that the columns can be written in one go.
pub(crate) struct Tuple<'a> {
    out: &'a mut Vec<u8>,
    fault: Option<RowFault>,
}

impl<'a> Tuple<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>, columns: i16) -> Self {
        out.extend_from_slice(&columns.to_be_bytes());
        Self { out, fault: None }
    }

    pub(crate) const fn finish(self) -> Result<(), RowFault> {
        match self.fault {
            None => Ok(()),
            Some(fault) => Err(fault),
        }
    }

    pub(crate) fn refuse(&mut self, fault: RowFault) {
        self.fault.get_or_insert(fault);
    }

    pub(crate) fn null(&mut self) {
        self.out.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        match i32::try_from(bytes.len()) {
            Ok(length) if bytes.len() <= TEXT_BYTES_MAX => {
                self.out.extend_from_slice(&length.to_be_bytes());
                self.out.extend_from_slice(bytes);
            }
            Ok(_) | Err(_) => self.refuse(RowFault::TooLong),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        if text.as_bytes().contains(&0) {
            self.refuse(RowFault::Nul);
        }
        self.bytes(text.as_bytes());
    }

    pub(crate) fn int(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn long(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    /// A timestamptz out of microseconds since 1970.
    pub(crate) fn time(&mut self, micros: i64) {
        if !(MICROS_MIN..=MICROS_MAX).contains(&micros) {
            self.refuse(RowFault::Time);
        }
        self.long(micros.saturating_sub(EPOCH_MICROS));
    }

    /// A numeric out of decimal text.
    pub(crate) fn numeric(&mut self, text: &str) {
        match numeric(text) {
            Some(bytes) => self.bytes(&bytes),
            None => self.refuse(RowFault::Number),
        }
    }

    /// A jsonb out of its text.
    pub(crate) fn json(&mut self, value: &serde_json::Value) {
        let text = value.to_string();
        // Postgres refuses U+0000 in jsonb, which JSON text escapes.
        if text.contains("\\u0000") {
            self.refuse(RowFault::Nul);
        }
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.push(1);
        bytes.extend_from_slice(text.as_bytes());
        self.bytes(&bytes);
    }

    /// A one-dimensional text[].
    pub(crate) fn texts<'t>(&mut self, texts: impl ExactSizeIterator<Item = &'t str>) {
        const TEXT_OID: i32 = 25;
        let mut bytes = Vec::with_capacity(20 + texts.len() * 24);
        for head in [1, 0, TEXT_OID, i32::try_from(texts.len()).unwrap_or(i32::MAX), 1] {
            bytes.extend_from_slice(&head.to_be_bytes());
        }
        for text in texts {
            bytes.extend_from_slice(&i32::try_from(text.len()).unwrap_or(i32::MAX).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        self.bytes(&bytes);
    }

    /// A value or NULL.
    pub(crate) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }
}

/// Postgres's numeric: groups of four decimal digits around the point, with the scale as written. Reads what
/// `schemas::decimal` writes: plain decimal text, beyond 25 places with an exponent.
pub(crate) fn numeric(text: &str) -> Option<Vec<u8>> {
    let (negative, number) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let plain = match number.split_once('e') {
        Some((mantissa, exponent)) => Cow::Owned(without_exponent(mantissa, exponent.parse().ok()?)?),
        None => Cow::Borrowed(number),
    };
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || !all_digits(whole)
        || !all_digits(fraction)
        || whole.len() > 131_072
        || fraction.len() > 16_000
    {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let mut padded = "0".repeat((4 - whole.len() % 4) % 4);
    padded.push_str(whole);
    let whole_groups = padded.len() / 4;
    padded.push_str(fraction);
    padded.push_str(&"0".repeat((4 - padded.len() % 4) % 4));
    let groups: Vec<i16> = padded
        .as_bytes()
        .chunks(4)
        .map(|chunk| chunk.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')))
        .collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let trailing = groups.iter().rev().take_while(|group| **group == 0).count();
    let kept = groups.get(leading..groups.len().saturating_sub(trailing)).unwrap_or_default();
    let weight = i16::try_from(i64::try_from(whole_groups).ok()? - 1 - i64::try_from(leading).ok()?).ok()?;
    let sign: u16 = if negative && !kept.is_empty() { 0x4000 } else { 0 };
    let mut bytes = Vec::with_capacity(8 + kept.len() * 2);
    bytes.extend_from_slice(&i16::try_from(kept.len()).ok()?.to_be_bytes());
    bytes.extend_from_slice(&(if kept.is_empty() { 0 } else { weight }).to_be_bytes());
    bytes.extend_from_slice(&sign.to_be_bytes());
    bytes.extend_from_slice(&u16::try_from(fraction.len()).ok()?.to_be_bytes());
    for group in kept {
        bytes.extend_from_slice(&group.to_be_bytes());
    }
    Some(bytes)
}

/// `1.5` and 3 are `1500`, `1.5` and -3 are `0.0015`. None where the exponent is beyond any number that `schemas::decimal` reads.
fn without_exponent(mantissa: &str, exponent: i16) -> Option<String> {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shift = usize::from(exponent.unsigned_abs());
    if shift > EXPONENT_MAX {
        return None;
    }
    Some(if exponent < 0 {
        let zeros = "0".repeat(shift.saturating_sub(whole.len()));
        let (above, below) = whole.split_at_checked(whole.len().saturating_sub(shift))?;
        format!("0{above}.{zeros}{below}{fraction}")
    } else {
        let zeros = "0".repeat(shift.saturating_sub(fraction.len()));
        let (above, below) = fraction.split_at_checked(shift.min(fraction.len()))?;
        format!("{whole}{above}{zeros}.{below}")
    })
}

/// Whether a time can be stored.
pub(crate) fn is_storable(micros: i64) -> bool {
    (MICROS_MIN..=MICROS_MAX).contains(&micros)
}
