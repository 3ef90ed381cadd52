//! Exact decimal numbers as senders write them: no floats, so that no digit is lost or made up on the way of a value.

use std::cmp::Ordering;
use std::fmt::Display;

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{CheckedAdd, CheckedMul, Signed};

/// Digits kept of a result whose decimal expansion does not terminate.
const ROUNDED_DIGITS: usize = 15;
/// Zeros are written out as long as a number has no more places than this before or behind its point.
const PLAIN_PLACES_MAX: usize = 25;
/// FHIR R4 examples have `1.0e-24`; a sender's exponent far beyond any physical quantity would only cost memory.
const EXPONENT_MAX: i32 = 400;
/// Bound on the digits of one literal, for the same reason.
const DIGITS_MAX: usize = 400;
/// The most digits that always fit an `i128`.
const SMALL_DIGITS_MAX: usize = 38;

/// One decimal literal: the text as received and the exact number that it denotes.
///
/// Accepted is the grammar of JSON numbers (RFC 8259, section 6) and, for XML (`xs:decimal`, XML Schema part 2,
/// section 3.2.3) and hand-written senders, also a leading `+`, leading zeros, and a point without digits on one side.
/// White space around the literal is not part of it. It has no `Debug`: a value is health data.
#[derive(Clone)]
pub struct Decimal {
    text: Box<str>,
    mantissa: Mantissa,
    /// Power of ten: the number is `mantissa` times ten to this.
    exponent: i32,
}

#[derive(Clone)]
enum Mantissa {
    Small(i128),
    Big(BigInt),
}

/// Why a text is not a decimal. It carries nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text does not follow the grammar: empty, `NaN`, `Infinity`, hexadecimal, with a comma, with a unit behind it.
    #[error("not a decimal number")]
    Malformed,
    /// More than 400 digits, or an exponent beyond ±400.
    #[error("decimal number out of bounds")]
    OutOfBounds,
}

/// The result of a conversion.
#[derive(Clone, PartialEq, Eq)]
pub struct Converted {
    /// Plain decimal text that Postgres `numeric` reads; with an exponent only beyond 25 places.
    pub text: String,
    /// The result does not terminate and was rounded half-even to 15 significant digits.
    pub rounded: bool,
}

/// An exact affine conversion between units: `(value × factor + shift) ÷ divisor`, all three integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    factor: i128,
    shift: i128,
    divisor: i128,
}

impl Decimal {
    /// Reads one literal.
    ///
    /// # Errors
    /// [`DecimalError::Malformed`] where the text is not a decimal literal, [`DecimalError::OutOfBounds`] above 400 digits
    /// or beyond an exponent of ±400.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let text = text.trim_ascii();
        let literal = Literal::scan(text.as_bytes())?;
        let mantissa = if let Some(small) = literal.small {
            Mantissa::Small(if literal.negative { -small } else { small })
        } else {
            Mantissa::Big(big_mantissa(text).ok_or(DecimalError::Malformed)?)
        };
        Ok(Self { text: text.into(), mantissa, exponent: literal.exponent })
    }

    /// The literal exactly as received, without the white space around it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The exact number.
    #[must_use]
    pub fn to_rational(&self) -> BigRational {
        let mantissa = match &self.mantissa {
            Mantissa::Small(small) => BigInt::from(*small),
            Mantissa::Big(big) => big.clone(),
        };
        let power = BigInt::from(10).pow(self.exponent.unsigned_abs());
        if self.exponent < 0 { BigRational::new(mantissa, power) } else { BigRational::from(mantissa * power) }
    }

    /// The same number in the canonical grammar: digits on both sides of a point, no `+`, no leading zeros, no exponent
    /// within 25 places. Trailing zeros behind the point stay as the source wrote them; they state its precision.
    #[must_use]
    pub fn canonical(&self) -> String {
        match &self.mantissa {
            Mantissa::Small(small) => render(&small.unsigned_abs(), *small < 0, self.exponent),
            Mantissa::Big(big) => render(big.magnitude(), big.is_negative(), self.exponent),
        }
    }

    /// Converts exactly. The identity keeps the source's digits, see [`Decimal::canonical`]; every other conversion gives
    /// the shortest exact text, or, where the result does not terminate, 15 significant digits rounded half-even.
    #[must_use]
    pub fn convert(&self, conversion: &Conversion) -> Converted {
        if conversion.is_identity() {
            return Converted { text: self.canonical(), rounded: false };
        }
        let small = match &self.mantissa {
            Mantissa::Small(small) => affine(small, self.exponent, conversion),
            Mantissa::Big(_) => None,
        };
        small.unwrap_or_else(|| affine(&self.big(), self.exponent, conversion).unwrap_or_else(|| self.unconverted()))
    }

    /// Compares by value: `1.50` equals `1.5`.
    #[must_use]
    pub fn cmp_value(&self, other: &Self) -> Ordering {
        if let (Mantissa::Small(left), Mantissa::Small(right)) = (&self.mantissa, &other.mantissa)
            && let Some(order) = cmp_small((*left, self.exponent), (*right, other.exponent))
        {
            return order;
        }
        self.to_rational().cmp(&other.to_rational())
    }

    /// Mantissa and power of ten where the mantissa fits; the number is one times ten to the other.
    #[must_use]
    pub fn small_parts(&self) -> Option<(i128, i32)> {
        match self.mantissa {
            Mantissa::Small(small) => Some((small, self.exponent)),
            Mantissa::Big(_) => None,
        }
    }

    fn big(&self) -> BigInt {
        match &self.mantissa {
            Mantissa::Small(small) => BigInt::from(*small),
            Mantissa::Big(big) => big.clone(),
        }
    }

    /// Never reached: arithmetic without bounds does not overflow. It keeps the function total without a panic.
    fn unconverted(&self) -> Converted {
        Converted { text: self.canonical(), rounded: true }
    }
}

impl Conversion {
    /// Leaves the number as it is.
    pub const IDENTITY: Self = Self { factor: 1, shift: 0, divisor: 1 };

    /// `(value × factor + shift) ÷ divisor` in lowest terms; `None` where factor or divisor is zero, or on overflow.
    #[must_use]
    pub fn new(factor: i128, shift: i128, divisor: i128) -> Option<Self> {
        if factor == 0 || divisor == 0 || [factor, shift, divisor].contains(&i128::MIN) {
            return None;
        }
        let common = factor.gcd(&shift).gcd(&divisor) * divisor.signum();
        Some(Self { factor: factor / common, shift: shift / common, divisor: divisor / common })
    }

    /// The number comes out as it went in.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        *self == Self::IDENTITY
    }

    /// The way back.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        Self::new(self.divisor, -self.shift, self.factor)
    }

    /// First this conversion, then `next`; `None` on overflow.
    #[must_use]
    pub fn then(&self, next: &Self) -> Option<Self> {
        let factor = self.factor.checked_mul(next.factor)?;
        let shift = self.shift.checked_mul(next.factor)?.checked_add(next.shift.checked_mul(self.divisor)?)?;
        Self::new(factor, shift, self.divisor.checked_mul(next.divisor)?)
    }

    /// The three integers `(factor, shift, divisor)`, for the documentation page.
    #[must_use]
    pub fn parts(&self) -> (i128, i128, i128) {
        (self.factor, self.shift, self.divisor)
    }
}

/// What one pass over a literal finds.
struct Literal {
    negative: bool,
    /// The digits as a number, where they fit.
    small: Option<i128>,
    exponent: i32,
}

impl Literal {
    fn scan(text: &[u8]) -> Result<Self, DecimalError> {
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

/// Digits of the mantissa; the first 19 in a machine word.
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

fn big_mantissa(text: &str) -> Option<BigInt> {
    let end = text.find(['e', 'E']).unwrap_or(text.len());
    let digits: Vec<u8> = text.bytes().take(end).filter(|byte| !matches!(byte, b'.' | b'+')).collect();
    BigInt::parse_bytes(&digits, 10)
}

/// The affine conversion of `mantissa × 10^exponent`; `None` where `T` is too small for it.
fn affine<T>(mantissa: &T, exponent: i32, conversion: &Conversion) -> Option<Converted>
where
    T: Integer + Signed + Clone + CheckedMul + CheckedAdd + From<i128> + Display,
{
    let places = if exponent < 0 { exponent.unsigned_abs() } else { 0 };
    let mut numerator = mantissa.checked_mul(&T::from(conversion.factor))?;
    if exponent > 0 {
        numerator = numerator.checked_mul(&ten_to::<T>(exponent.unsigned_abs())?)?;
    }
    if conversion.shift != 0 {
        numerator = numerator.checked_add(&ten_to::<T>(places)?.checked_mul(&T::from(conversion.shift))?)?;
    }
    let divisor = T::from(conversion.divisor);
    let common = numerator.gcd(&divisor);
    let (numerator, divisor) = (numerator / common.clone(), divisor / common);
    let (fives, rest) = divide_out(divisor.clone(), 5);
    let (twos, rest) = divide_out(rest, 2);
    let (digits, places, rounded) = if rest == T::one() {
        let more = twos.max(fives);
        let scale = power::<T>(2, more - twos)?.checked_mul(&power::<T>(5, more - fives)?)?;
        (numerator.checked_mul(&scale)?, i32::try_from(places + more).ok()?, false)
    } else {
        let (digits, places) = round(&numerator, &divisor, i32::try_from(places).ok()?)?;
        (digits, places, true)
    };
    let (digits, places) = without_trailing_zeros(digits, places);
    Some(Converted { text: render(&digits.abs(), digits.is_negative(), -places), rounded })
}

/// `numerator ÷ divisor` with [`ROUNDED_DIGITS`] significant digits, half-even, as digits and decimal places.
fn round<T>(numerator: &T, divisor: &T, places: i32) -> Option<(T, i32)>
where
    T: Integer + Signed + Clone + CheckedMul + From<i128> + Display,
{
    let limit = ten_to::<T>(u32::try_from(ROUNDED_DIGITS).ok()?)?;
    let magnitude = numerator.abs();
    // Bring the quotient to fifteen digits: by the difference of lengths, then by one more step at most.
    let lengths = i32::try_from(length(&magnitude)).ok()? - i32::try_from(length(divisor)).ok()?;
    let mut shift = i32::try_from(ROUNDED_DIGITS).ok()? - lengths;
    let (quotient, remainder, divisor) = loop {
        let (top, bottom) = if shift >= 0 {
            (magnitude.checked_mul(&ten_to::<T>(shift.unsigned_abs())?)?, divisor.clone())
        } else {
            (magnitude.clone(), divisor.checked_mul(&ten_to::<T>(shift.unsigned_abs())?)?)
        };
        let (quotient, remainder) = top.div_rem(&bottom);
        if quotient < limit {
            break (quotient, remainder, bottom);
        }
        shift -= 1;
    };
    let twice = remainder.checked_mul(&T::from(2))?;
    let up = match twice.cmp(&divisor) {
        Ordering::Greater => true,
        Ordering::Equal => quotient.is_odd(),
        Ordering::Less => false,
    };
    let digits = if up { quotient + T::one() } else { quotient };
    Some((if numerator.is_negative() { -digits } else { digits }, places + shift))
}

fn length<T: Display>(number: &T) -> usize {
    number.to_string().len()
}

fn ten_to<T: CheckedMul + From<i128>>(exponent: u32) -> Option<T> {
    power(10, exponent)
}

fn power<T: CheckedMul + From<i128>>(base: i128, exponent: u32) -> Option<T> {
    if let Some(small) = base.checked_pow(exponent) {
        return Some(T::from(small));
    }
    let half = power::<T>(base, exponent / 2)?;
    let whole = half.checked_mul(&half)?;
    if exponent.is_multiple_of(2) { Some(whole) } else { whole.checked_mul(&T::from(base)) }
}

fn divide_out<T: Integer + Clone + From<i128>>(mut number: T, prime: i128) -> (u32, T) {
    let prime = T::from(prime);
    let mut times = 0;
    loop {
        let (quotient, remainder) = number.div_rem(&prime);
        if !remainder.is_zero() || number.is_zero() {
            return (times, number);
        }
        number = quotient;
        times += 1;
    }
}

/// Drops the zeros at the end, also those before the point; [`render`] writes these again.
fn without_trailing_zeros<T: Integer + Clone + From<i128>>(mut digits: T, mut places: i32) -> (T, i32) {
    if digits.is_zero() {
        return (digits, 0);
    }
    let ten = T::from(10);
    loop {
        let (quotient, remainder) = digits.div_rem(&ten);
        if !remainder.is_zero() {
            return (digits, places);
        }
        digits = quotient;
        places -= 1;
    }
}

/// `magnitude × 10^exponent` as text.
fn render<T: Display>(magnitude: &T, negative: bool, exponent: i32) -> String {
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

fn cmp_small(left: (i128, i32), right: (i128, i32)) -> Option<Ordering> {
    let shift = left.1.abs_diff(right.1);
    let factor = 10_i128.checked_pow(shift)?;
    if left.1 >= right.1 {
        Some(left.0.checked_mul(factor)?.cmp(&right.0))
    } else {
        Some(left.0.cmp(&right.0.checked_mul(factor)?))
    }
}
