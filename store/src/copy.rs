//! Rows in the binary format of Postgres's COPY (PostgreSQL documentation, "COPY", "Binary Format").

use std::borrow::Cow;

/// Why a value cannot be stored in a row. The error names the kind of fault, never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// U+0000 in a text: Postgres cannot store it.
    #[error("a text has the character U+0000")]
    Nul,
    /// A time outside the accepted range of timestamptz, or a time span that ends before it begins.
    #[error("a time cannot be stored")]
    Time,
    /// A text that is not a decimal number, or has more digits than numeric can store.
    #[error("a number cannot be stored")]
    Number,
    /// A text of more than 64 MiB.
    #[error("a text is too long to store")]
    TooLong,
    /// A raw topic that is not a topic of the reading's provider.
    #[error("the raw topic is not one of the provider's")]
    Provider,
}

/// Microseconds from 1970-01-01 to Postgres's epoch, 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// The years -4712 to 9999 in microseconds since 1970-01-01. The range of timestamptz is wider.
const MICROS_MIN: i64 = -210_866_803_200_000_000;
const MICROS_MAX: i64 = 253_402_300_799_999_999;
const TEXT_BYTES_MAX: usize = 64 << 20;
/// Enough for 400 digits with an exponent of 400, and for the digits that a conversion may add.
const EXPONENT_MAX: usize = 1_000;

/// The header of the COPY stream.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The trailer of the COPY stream.
pub const TRAILER: [u8; 2] = [0xff, 0xff];

/// A row that is being written. It stores the first fault, so that all columns can be written without checks in between.
pub(crate) struct Tuple<'a> {
    out: &'a mut Vec<u8>,
    fault: Option<RowFault>,
}

impl<'a> Tuple<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>, columns: usize) -> Self {
        // A table has at most 1,600 columns.
        out.extend_from_slice(&i16::try_from(columns).unwrap_or(i16::MAX).to_be_bytes());
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
        self.field(|out| out.extend_from_slice(bytes));
    }

    /// Writes a field whose length is known only after it is written.
    fn field(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        write(self.out);
        let length = self.out.len() - start - 4;
        match (i32::try_from(length), self.out.get_mut(start..start + 4)) {
            (Ok(length_field), Some(place)) if length <= TEXT_BYTES_MAX => {
                place.copy_from_slice(&length_field.to_be_bytes());
            }
            _ => self.refuse(RowFault::TooLong),
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

    pub(crate) fn boolean(&mut self, value: bool) {
        self.bytes(&[u8::from(value)]);
    }

    pub(crate) fn short(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes a smallint. A number that does not fit is a fault.
    pub(crate) fn small_int(&mut self, value: i32) {
        match i16::try_from(value) {
            Ok(small) => self.short(small),
            Err(_) => self.refuse(RowFault::Number),
        }
    }

    pub(crate) fn long(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes a bigint that is filled in later, and returns its position in the buffer.
    pub(crate) fn placeholder(&mut self) -> usize {
        self.long(0);
        self.out.len() - 8
    }

    /// Writes a placeholder, or NULL when no number will be filled in.
    pub(crate) fn placeholder_if(&mut self, wanted: bool) -> Option<usize> {
        if wanted {
            return Some(self.placeholder());
        }
        self.null();
        None
    }

    /// Writes a timestamptz from microseconds since 1970-01-01.
    pub(crate) fn time(&mut self, micros: i64) {
        if !(MICROS_MIN..=MICROS_MAX).contains(&micros) {
            self.refuse(RowFault::Time);
        }
        self.long(micros.saturating_sub(EPOCH_MICROS));
    }

    /// Writes a numeric from decimal text.
    pub(crate) fn numeric(&mut self, text: &str) {
        let mut written = None;
        self.field(|out| written = numeric(text, out));
        if written.is_none() {
            self.refuse(RowFault::Number);
        }
    }

    /// Writes a jsonb from its text, which `write` appends.
    pub(crate) fn json(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        const VERSION: u8 = 1;
        let mut has_nul = false;
        self.field(|out| {
            out.push(VERSION);
            let start = out.len();
            write(out);
            has_nul = out.get(start..).is_some_and(escapes_nul);
        });
        if has_nul {
            self.refuse(RowFault::Nul);
        }
    }

    /// Writes a one-dimensional text[].
    pub(crate) fn texts<'t>(&mut self, texts: impl ExactSizeIterator<Item = &'t str>) {
        const TEXT_OID: i32 = 25;
        self.field(|out| {
            for head in [1, 0, TEXT_OID, i32::try_from(texts.len()).unwrap_or(i32::MAX), 1] {
                out.extend_from_slice(&head.to_be_bytes());
            }
            for text in texts {
                out.extend_from_slice(&i32::try_from(text.len()).unwrap_or(i32::MAX).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        });
    }

    /// Writes a value or NULL.
    pub(crate) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }
}

/// Returns whether a JSON text has the escape of U+0000, which Postgres refuses in jsonb.
fn escapes_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        match rest.get(at + 1..) {
            Some([b'u', b'0', b'0', b'0', b'0', ..]) => return true,
            Some([_, behind @ ..]) => rest = behind,
            Some([]) | None => return false,
        }
    }
    false
}

/// Appends a numeric in Postgres's binary form: groups of four decimal digits aligned to the decimal point, with the scale of the
/// text. Accepts the text that `catalogue::decimal` writes: plain decimal text, with an exponent beyond 25 places. Returns `None`
/// for any other text.
pub(crate) fn numeric(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (negative, number) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let plain = match number.split_once('e') {
        Some((mantissa, exponent)) => Cow::Owned(without_exponent(mantissa, exponent.parse().ok()?)?),
        None => Cow::Borrowed(number),
    };
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > 131_072 || fraction.len() > 16_000 {
        return None;
    }
    // The groups are aligned to the point: the first one is padded with zeros in front, the last one with zeros at the end.
    let lead = (4 - whole.len() % 4) % 4;
    let digits = std::iter::repeat_n(b'0', lead).chain(whole.bytes()).chain(fraction.bytes());
    let head = out.len();
    out.extend_from_slice(&[0; 8]);
    let (mut weight, mut kept, mut group, mut count) = (whole.len().div_ceil(4), 0_usize, 0_i16, 0);
    let mut filled = out.len();
    for digit in digits.chain(std::iter::repeat_n(b'0', (4 - fraction.len() % 4) % 4)) {
        group = group * 10 + i16::from(digit - b'0');
        count += 1;
        if count < 4 {
            continue;
        }
        if kept > 0 || group != 0 {
            out.extend_from_slice(&group.to_be_bytes());
            kept += 1;
            filled = if group == 0 { filled } else { out.len() };
        } else {
            // A leading group of zeros is not written. After the point the weight becomes negative.
            weight = weight.wrapping_sub(1);
        }
        (group, count) = (0, 0);
    }
    // Trailing groups of zeros are not written either.
    out.truncate(filled);
    let groups = i16::try_from((filled - head - 8) / 2).ok()?;
    let weight = if groups == 0 { 0 } else { i16::try_from(weight.cast_signed() - 1).ok()? };
    let sign: u16 = if negative && groups > 0 { 0x4000 } else { 0 };
    let scale = u16::try_from(fraction.len()).ok()?;
    let fields = [groups.cast_unsigned(), weight.cast_unsigned(), sign, scale];
    for (target, field) in out.get_mut(head..)?.chunks_exact_mut(2).zip(fields) {
        target.copy_from_slice(&field.to_be_bytes());
    }
    Some(())
}

/// Writes a number without its exponent: `1.5` and 3 become `1500`, `1.5` and -3 become `0.0015`. Returns `None` when the exponent
/// is beyond any number that `catalogue::decimal` reads.
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

/// Returns whether a time can be stored.
pub(crate) fn is_storable(micros: i64) -> bool {
    (MICROS_MIN..=MICROS_MAX).contains(&micros)
}
