//! Exact decimal numbers as senders write them. No floats are used, so that no digit of a value is lost or invented.

mod conversion;
mod literal;
mod render;

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Signed;

pub use conversion::{Conversion, Converted};
pub use literal::DecimalError;

use conversion::affine;
use literal::{Literal, big_mantissa};
use render::render;

/// A decimal literal: the text as received, and the exact number that it denotes.
///
/// The accepted grammar is that of JSON numbers (RFC 8259, section 6). For XML (`xs:decimal`, XML Schema part 2, section 3.2.3) and
/// hand-written senders, a leading `+`, leading zeros, and a point without digits on one side are accepted too. White space around
/// the literal is ignored. The type has no `Debug`, because a value is health data.
#[derive(Clone)]
pub struct Decimal {
    text: Box<str>,
    mantissa: Mantissa,
    /// The power of ten: the number is `mantissa × 10^exponent`.
    exponent: i32,
}

#[derive(Clone)]
enum Mantissa {
    Small(i128),
    Big(BigInt),
}

impl Decimal {
    /// Parses one literal.
    ///
    /// # Errors
    /// [`DecimalError::Malformed`] when the text is not a decimal literal; [`DecimalError::OutOfBounds`] for more than 400 digits
    /// or an exponent beyond ±400.
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

    /// Returns the literal exactly as received, without the white space around it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the exact number.
    #[must_use]
    pub fn to_rational(&self) -> BigRational {
        let mantissa = match &self.mantissa {
            Mantissa::Small(small) => BigInt::from(*small),
            Mantissa::Big(big) => big.clone(),
        };
        let power = BigInt::from(10).pow(self.exponent.unsigned_abs());
        if self.exponent < 0 { BigRational::new(mantissa, power) } else { BigRational::from(mantissa * power) }
    }

    /// Returns the number in the canonical grammar: no `+`, no leading zeros, digits on both sides of a point, and no exponent
    /// within 25 places. Trailing zeros after the point are kept as the source wrote them, because they state its precision.
    #[must_use]
    pub fn canonical(&self) -> String {
        match &self.mantissa {
            Mantissa::Small(small) => render(&small.unsigned_abs(), *small < 0, self.exponent),
            Mantissa::Big(big) => render(big.magnitude(), big.is_negative(), self.exponent),
        }
    }

    /// Converts the number exactly. The identity keeps the digits of the source (see [`Decimal::canonical`]). Every other
    /// conversion returns the shortest exact text, or, when the result has no finite decimal expansion, 15 significant digits
    /// rounded half-even.
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

    /// Compares by value: `1.50` is equal to `1.5`.
    #[must_use]
    pub fn cmp_value(&self, other: &Self) -> Ordering {
        if let (Mantissa::Small(left), Mantissa::Small(right)) = (&self.mantissa, &other.mantissa)
            && let Some(order) = cmp_small((*left, self.exponent), (*right, other.exponent))
        {
            return order;
        }
        self.to_rational().cmp(&other.to_rational())
    }

    /// Returns the mantissa and the exponent of `mantissa × 10^exponent`; `None` when the mantissa does not fit into an `i128`.
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

    /// Returns the number unconverted. This is never called, because `BigInt` does not overflow; it avoids a panic in the code.
    fn unconverted(&self) -> Converted {
        Converted { text: self.canonical(), rounded: true }
    }
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
