//! What UCUM says about a unit: whether it is one, and how it converts. It is read by a library that knows nothing of our tables.

use num_bigint::BigInt;
use num_integer::Integer as _;
use num_rational::BigRational;
use num_traits::{Signed as _, ToPrimitive as _, Zero as _};
use octofhir_ucum::{Number, UnitAnalysis, analyse};

use crate::decimal::{Conversion, Decimal};

/// The library calculates with 28 digits. A conversion that agrees with it to this many is the exact one.
const DIGITS: i32 = 24;
/// A larger exponent is beyond any unit that a device uses, and would only cost memory.
const EXPONENT_MAX: u32 = 400;

/// Whether a unit is one of UCUM.
pub(super) fn is_unit(unit: &str) -> bool {
    octofhir_ucum::validate(unit).is_ok()
}

/// Whether UCUM converts one unit into the other.
pub(super) fn is_comparable(one: &str, other: &str) -> bool {
    octofhir_ucum::is_comparable(one, other).unwrap_or(false)
}

/// Whether a unit is a plain number to UCUM. Then it converts into every other one, such as per cent or a level of hearing.
pub(super) fn is_number(unit: &str) -> bool {
    analyse(unit).is_ok_and(|unit| unit.is_dimensionless)
}

/// The conversion that UCUM defines: `value × factor + shift`.
pub(super) struct Linear {
    factor: BigRational,
    shift: BigRational,
    /// The size of the numbers whose difference the shift is.
    shift_scale: BigRational,
}

impl Linear {
    /// Returns the conversion between two units; `None` when UCUM defines none, or one that is not linear, as between a level and a
    /// pressure.
    pub(super) fn between(from: &str, to: &str) -> Option<Self> {
        if !is_comparable(from, to) {
            return None;
        }
        let (from, to) = (analyse(from).ok()?, analyse(to).ok()?);
        if let (Some(from), Some(to)) = (Affine::of(&from), Affine::of(&to)) {
            return Some(Self {
                factor: &from.factor / &to.factor,
                shift: (&from.offset - &to.offset) / &to.factor,
                shift_scale: (from.offset.abs() + to.offset.abs()) / to.factor.abs(),
            });
        }
        // Two units of the same level, such as B[SPL] and dB[SPL].
        if from.special != to.special || from.factor != to.factor {
            return None;
        }
        let factor = exact(from.scale)? / exact(to.scale)?;
        Some(Self { factor, shift: BigRational::zero(), shift_scale: BigRational::zero() })
    }

    /// Whether `[factor, shift, divisor]` is this conversion, and not only near to it.
    pub(super) fn is(&self, [factor, shift, divisor]: [i64; 3]) -> bool {
        if divisor == 0 {
            return false;
        }
        let written = |number: i64| BigRational::new(number.into(), divisor.into());
        let tolerance = BigRational::new(1.into(), BigInt::from(10).pow(DIGITS.unsigned_abs()));
        let is_near =
            |one: BigRational, other: &BigRational, scale: BigRational| (one - other).abs() <= scale * &tolerance;
        is_near(written(factor), &self.factor, self.factor.abs())
            && is_near(written(shift), &self.shift, self.shift_scale.clone())
    }

    /// Returns `[factor, shift, divisor]`, if the numbers of this conversion are decimals that fit.
    pub(super) fn to_base(&self) -> Option<[i64; 3]> {
        let divisor = self.factor.denom().lcm(self.shift.denom());
        let whole = |number: &BigRational| (number * BigRational::from(divisor.clone())).to_integer().to_i64();
        Some([whole(&self.factor)?, whole(&self.shift)?, divisor.to_i64()?])
    }

    /// Returns what a value of 1 becomes, as decimal text.
    pub(super) fn of_one(&self) -> Option<String> {
        let result = &self.factor + &self.shift;
        let conversion = Conversion::new(result.numer().to_i128()?, 0, result.denom().to_i128()?)?;
        Some(Decimal::parse("1").ok()?.convert(&conversion).text)
    }
}

/// A proper unit or a temperature: `value × factor + offset` in base units.
struct Affine {
    factor: BigRational,
    offset: BigRational,
}

impl Affine {
    fn of(unit: &UnitAnalysis) -> Option<Self> {
        // Of the special units, only temperatures have an offset.
        if unit.special.is_some() && unit.offset.is_zero() {
            return None;
        }
        Some(Self { factor: exact(unit.factor)? * exact(unit.scale)?, offset: exact(unit.offset)? })
    }
}

fn exact(number: Number) -> Option<BigRational> {
    let (digits, exponent) = number.to_integer_and_exponent();
    if exponent.unsigned_abs() > EXPONENT_MAX {
        return None;
    }
    let (digits, power) = (BigInt::from(digits), BigInt::from(10).pow(exponent.unsigned_abs()));
    Some(if exponent < 0 { BigRational::new(digits, power) } else { BigRational::from(digits * power) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Entries, load};

    #[test]
    fn every_built_in_conversion_is_the_exact_one() {
        let entries = Entries::built_in().unwrap();
        let catalogue = load(Entries::built_in().unwrap()).unwrap();
        let mut converted = 0;
        for unit in &entries.units.unit {
            assert!(is_unit(&unit.ucum), "{}", unit.ucum);
            let base = catalogue
                .units()
                .iter()
                .find(|base| Some(base.property()) == unit.property.as_deref() && base.to_base().is_identity())
                .unwrap();
            let linear = Linear::between(&unit.ucum, base.ucum()).unwrap();
            let [factor, shift, divisor] = unit.to_base.unwrap_or([1, 0, 1]);
            assert!(linear.is([factor, shift, divisor]), "{}", unit.ucum);
            for altered in [[factor + 1, shift, divisor], [factor, shift + 1, divisor], [factor, shift, divisor + 1]] {
                assert!(!linear.is(altered), "{} {altered:?}", unit.ucum);
            }
            converted += 1;
        }
        assert!(converted > 80, "{converted}");
    }

    #[test]
    fn a_conversion_that_is_only_near_is_not_the_exact_one() {
        let fahrenheit = Linear::between("[degF]", "Cel").unwrap();
        assert!(fahrenheit.is([5, -160, 9]));
        assert!(!fahrenheit.is([5_555_555_555_555_556, -177_777_777_777_777_778, 10_000_000_000_000_000]));
        assert_eq!(fahrenheit.to_base(), None, "the fraction does not fit");
        let pound = Linear::between("[lb_av]", "kg").unwrap();
        assert!(pound.is([45_359_237, 0, 100_000_000]));
        // The error is less than that of a float.
        assert!(!pound.is([453_592_370_000_000_001, 0, 1_000_000_000_000_000_000]));
        assert_eq!(pound.to_base(), Some([45_359_237, 0, 100_000_000]));
        assert_eq!(pound.of_one().as_deref(), Some("0.45359237"));
    }

    #[test]
    fn units_without_a_linear_conversion_have_none() {
        for (from, to) in [("kg", "m"), ("dB[SPL]", "Pa"), ("[pH]", "mol/L"), ("10*500", "1"), ("smoot", "m")] {
            assert!(Linear::between(from, to).is_none(), "{from} {to}");
        }
        assert!(Linear::between("B[SPL]", "dB[SPL]").unwrap().is([10, 0, 1]));
        assert!(is_number("%") && is_number("[ppm]") && !is_number("kg"));
        assert!(is_unit("[smoot]") && !is_unit("furlong") && !is_unit("mmHg") && !is_unit("") && !is_unit("m g"));
    }
}
