//! Exact conversions between units.

use std::{cmp::Ordering, fmt::Display};

use num_integer::Integer;
use num_traits::{CheckedAdd, CheckedMul, Signed};

use super::render::render;

/// The number of significant digits of a result that has no finite decimal expansion.
const ROUNDED_DIGITS: usize = 15;

/// The result of a conversion.
#[derive(Clone, PartialEq, Eq)]
pub struct Converted {
    /// Decimal text that Postgres `numeric` reads; it has an exponent only beyond 25 places.
    pub text: String,
    /// Whether the result has no finite decimal expansion and was rounded half-even to 15 significant digits.
    pub rounded: bool,
}

/// An exact affine conversion between units: `(value × factor + shift) ÷ divisor`, all three integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    factor: i128,
    shift: i128,
    divisor: i128,
}

impl Conversion {
    /// The conversion that does not change the number.
    pub const IDENTITY: Self = Self { factor: 1, shift: 0, divisor: 1 };

    /// Creates `(value × factor + shift) ÷ divisor` in lowest terms; `None` when factor or divisor is zero, or on overflow.
    #[must_use]
    pub fn new(factor: i128, shift: i128, divisor: i128) -> Option<Self> {
        if factor == 0 || divisor == 0 || [factor, shift, divisor].contains(&i128::MIN) {
            return None;
        }
        let common = factor.gcd(&shift).gcd(&divisor) * divisor.signum();
        Some(Self { factor: factor / common, shift: shift / common, divisor: divisor / common })
    }

    /// Returns whether the conversion does not change the number.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        *self == Self::IDENTITY
    }

    /// Returns the inverse conversion.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        Self::new(self.divisor, -self.shift, self.factor)
    }

    /// Returns the conversion that applies this conversion and then `next`; `None` on overflow.
    #[must_use]
    pub fn then(&self, next: &Self) -> Option<Self> {
        let factor = self.factor.checked_mul(next.factor)?;
        let shift = self.shift.checked_mul(next.factor)?.checked_add(next.shift.checked_mul(self.divisor)?)?;
        Self::new(factor, shift, self.divisor.checked_mul(next.divisor)?)
    }

    /// Returns the three integers `(factor, shift, divisor)`.
    #[must_use]
    pub fn parts(&self) -> (i128, i128, i128) {
        (self.factor, self.shift, self.divisor)
    }
}

/// Converts `mantissa × 10^exponent`; `None` when `T` overflows.
pub(super) fn affine<T>(mantissa: &T, exponent: i32, conversion: &Conversion) -> Option<Converted>
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

/// Divides with [`ROUNDED_DIGITS`] significant digits, rounded half-even. Returns the digits and the number of decimal places.
fn round<T>(numerator: &T, divisor: &T, places: i32) -> Option<(T, i32)>
where
    T: Integer + Signed + Clone + CheckedMul + From<i128> + Display,
{
    let limit = ten_to::<T>(u32::try_from(ROUNDED_DIGITS).ok()?)?;
    let magnitude = numerator.abs();
    // Scale the quotient to fifteen digits: by the difference of the lengths, then by at most one more step.
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

/// Removes trailing zeros, also those before the point, which [`render`] writes again.
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
