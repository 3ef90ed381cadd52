//! Exact decimal numbers as senders write them: no floats, so that no digit is lost or made up on the way of a value.

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

fn cmp_small(left: (i128, i32), right: (i128, i32)) -> Option<Ordering> {
    let shift = left.1.abs_diff(right.1);
    let factor = 10_i128.checked_pow(shift)?;
    if left.1 >= right.1 {
        Some(left.0.checked_mul(factor)?.cmp(&right.0))
    } else {
        Some(left.0.cmp(&right.0.checked_mul(factor)?))
    }
}
