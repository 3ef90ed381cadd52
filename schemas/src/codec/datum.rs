//! Avro binary encoding of the primitive and composite types that our schemas use
//! (Apache Avro 1.12 specification, "Binary Encoding").

use std::{borrow::Cow, sync::Arc};

use uuid::Uuid;

/// Why bytes are not a datum of the expected schema. The error contains nothing of the datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("the datum ends early")]
    Truncated,
    /// A varint is longer than 10 bytes or does not fit the type.
    #[error("a number in the datum is out of range")]
    Number,
    /// A length is negative or greater than the number of bytes left.
    #[error("a length in the datum is impossible")]
    Length,
    /// A string is not UTF-8.
    #[error("a string in the datum is not UTF-8")]
    Utf8,
    /// An enum or union index is out of range, or a boolean is neither 0 nor 1.
    #[error("an enum symbol, union branch or boolean in the datum does not exist")]
    Branch,
    /// A string does not satisfy its logical type or domain type.
    #[error("a value in the datum breaks the rules of its type")]
    Domain,
    /// Bytes are left after the datum.
    #[error("bytes are left after the datum")]
    Trailing,
}

/// The bytes of a datum that are not read yet.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Creates an input that starts at the first byte of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads the next `count` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    /// Checks that all bytes were read.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] when bytes are left.
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    fn long(&mut self) -> Result<i64, DecodeError> {
        let mut zigzag: u64 = 0;
        let mut shift = 0;
        loop {
            let byte = *self.take(1)?.first().ok_or(DecodeError::Truncated)?;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::Number);
            }
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()));
            }
            shift += 7;
            if shift > 63 {
                return Err(DecodeError::Number);
            }
        }
    }

    /// Reads a string without copying it.
    ///
    /// # Errors
    /// [`DecodeError`] when the next value is not a string.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::Utf8)
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        let length = usize::try_from(self.long()?).map_err(|_| DecodeError::Length)?;
        if length > self.0.len() { Err(DecodeError::Length) } else { Ok(length) }
    }
}

/// A value with an Avro datum encoding.
pub trait Datum: Sized {
    /// Appends the datum to `out`.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads one datum.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a datum of this type.
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError>;
}

#[expect(clippy::cast_possible_truncation, reason = "only the low seven bits are written")]
fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push((zigzag as u8 & 0x7f) | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    // A Rust allocation never exceeds isize::MAX bytes, so the conversion cannot saturate.
    write_long(i64::try_from(length).unwrap_or(i64::MAX), out);
}

pub(super) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

impl Datum for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        write_long(*self, out);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        input.long()
    }
}

impl Datum for i32 {
    fn write(&self, out: &mut Vec<u8>) {
        write_long(i64::from(*self), out);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Self::try_from(input.long()?).map_err(|_| DecodeError::Number)
    }
}

impl Datum for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        match input.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(DecodeError::Branch),
        }
    }
}

impl Datum for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), out);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        input.text().map(str::to_owned)
    }
}

impl Datum for Cow<'static, str> {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), out);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        String::read(input).map(Cow::Owned)
    }
}

impl Datum for Arc<str> {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), out);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        input.text().map(Self::from)
    }
}

/// Avro `bytes`.
impl Datum for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self, out);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let length = input.length()?;
        Ok(input.take(length)?.to_vec())
    }
}

/// Avro `fixed`.
impl<const N: usize> Datum for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        input.take(N)?.try_into().map_err(|_| DecodeError::Length)
    }
}

/// Avro `string` with the logical type `uuid`.
impl Datum for Uuid {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.hyphenated().encode_lower(&mut Self::encode_buffer()).as_bytes(), out);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let length = input.length()?;
        Self::try_parse_ascii(input.take(length)?).map_err(|_| DecodeError::Domain)
    }
}

/// Avro union of `null` and the type, in this order.
impl<T: Datum> Datum for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => write_long(0, out),
            Some(value) => {
                write_long(1, out);
                value.write(out);
            }
        }
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        match input.long()? {
            0 => Ok(None),
            1 => T::read(input).map(Some),
            _ => Err(DecodeError::Branch),
        }
    }
}

/// A type that can be an element of an Avro array. `u8` is not one, because `Vec<u8>` is Avro `bytes`.
pub trait Element: Datum {}

impl<T: Element> Datum for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            write_length(self.len(), out);
            for element in self {
                element.write(out);
            }
        }
        write_long(0, out);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let mut elements = Self::new();
        loop {
            let count = match input.long()? {
                0 => return Ok(elements),
                count if count > 0 => count,
                // A negative count is followed by the block's size in bytes.
                count => {
                    input.long()?;
                    count.checked_neg().ok_or(DecodeError::Length)?
                }
            };
            for _ in 0..count {
                elements.push(T::read(input)?);
            }
        }
    }
}

impl Element for String {}
