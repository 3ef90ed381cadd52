//! Parses decimal literals.

use num_bigint::BigInt;

/// The largest exponent. FHIR R4 examples have `1.0e-24`; an exponent far beyond any physical quantity would only cost memory.
const EXPONENT_MAX: i32 = 400;
/// The largest number of digits of one literal, for the same reason.
const DIGITS_MAX: usize = 400;
/// The largest number of digits that always fit into an `i128`.
const SMALL_DIGITS_MAX: usize = 38;

/// Why a text is not a decimal. The error contains nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text does not follow the grammar: empty, `NaN`, `Infinity`, hexadecimal, with a comma, with a unit behind it.
    #[error("not a decimal number")]
    Malformed,
    /// More than 400 digits, or an exponent beyond ±400.
    #[error("decimal number out of bounds")]
    OutOfBounds,
}

/// The parts of a literal.
pub(super) struct Literal {
    pub(super) negative: bool,
    /// The digits as a number; `None` when they do not fit.
    pub(super) small: Option<i128>,
    pub(super) exponent: i32,
}

impl Literal {
    /// Parses a literal in one pass.
    pub(super) fn scan(text: &[u8]) -> Result<Self, DecimalError> {
        let (negative, text) = sign(text);
        let mut digits = Digits::default();
        let text = digits.scan(text);
        let (fraction, text) = match text {
            [b'.', rest @ ..] => {
                let whole = digits.count;
                let rest = digits.scan(rest);
                (digits.count - whole, rest)
            }
            _ => (0, text),
        };
        if digits.count == 0 {
            return Err(DecimalError::Malformed);
        }
        let exponent = match text {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return Err(DecimalError::Malformed),
        };
        if digits.count > DIGITS_MAX {
            return Err(DecimalError::OutOfBounds);
        }
        let fraction = i32::try_from(fraction).map_err(|_| DecimalError::OutOfBounds)?;
        Ok(Self { negative, small: digits.small(), exponent: exponent - fraction })
    }
}

/// The digits of the mantissa. Up to 18 significant digits are collected in a machine word.
#[derive(Default)]
struct Digits {
    count: usize,
    significant: usize,
    low: u64,
    wide: i128,
}

impl Digits {
    fn scan<'a>(&mut self, mut text: &'a [u8]) -> &'a [u8] {
        while let [digit @ b'0'..=b'9', rest @ ..] = text {
            let digit = digit - b'0';
            self.count += 1;
            if self.significant > 0 || digit != 0 {
                self.significant += 1;
                if self.significant <= 18 {
                    self.low = self.low * 10 + u64::from(digit);
                } else if self.significant <= SMALL_DIGITS_MAX {
                    if self.significant == 19 {
                        self.wide = i128::from(self.low);
                    }
                    self.wide = self.wide * 10 + i128::from(digit);
                }
            }
            text = rest;
        }
        text
    }

    fn small(&self) -> Option<i128> {
        match self.significant {
            0..=18 => Some(i128::from(self.low)),
            19..=SMALL_DIGITS_MAX => Some(self.wide),
            _ => None,
        }
    }
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

fn exponent(text: &[u8]) -> Result<i32, DecimalError> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::Malformed);
    }
    if digits.len() > DIGITS_MAX {
        return Err(DecimalError::OutOfBounds);
    }
    let value = digits.iter().fold(0_i32, |sum, digit| sum.saturating_mul(10).saturating_add(i32::from(digit - b'0')));
    if value > EXPONENT_MAX {
        return Err(DecimalError::OutOfBounds);
    }
    Ok(if negative { -value } else { value })
}

/// Returns the digits of a literal as a number of any size.
pub(super) fn big_mantissa(text: &str) -> Option<BigInt> {
    let end = text.find(['e', 'E']).unwrap_or(text.len());
    let digits: Vec<u8> = text.bytes().take(end).filter(|byte| !matches!(byte, b'.' | b'+')).collect();
    BigInt::parse_bytes(&digits, 10)
}
