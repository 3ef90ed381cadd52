use catalogue::decimal::{Conversion, Decimal, DecimalError};
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};
use proptest::prelude::*;

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn converted(text: &str, factor: i128, shift: i128, divisor: i128) -> (String, bool) {
    let converted = decimal(text).convert(&Conversion::new(factor, shift, divisor).unwrap());
    (converted.text, converted.rounded)
}

#[test]
fn the_identity_conversion_keeps_the_digits_and_normalizes_the_notation() {
    for (text, canonical) in [
        ("5.5", "5.5"),
        ("1.50", "1.50"),
        ("+5", "5"),
        (" 5\n", "5"),
        ("5.", "5"),
        (".5", "0.5"),
        ("-.50", "-0.50"),
        ("007.10", "7.10"),
        ("-0", "0"),
        ("-0.0", "0.0"),
        ("0.000", "0.000"),
        ("1e2", "100"),
        ("1.50e1", "15.0"),
        ("1.0e-24", "0.0000000000000000000000010"),
        ("1.0E-30", "1.0e-30"),
        ("1e400", "1e400"),
        ("1e24", "1000000000000000000000000"),
        ("1e25", "1e25"),
        ("12e20", "1200000000000000000000"),
        ("0.12345678901234567890123456", "0.12345678901234567890123456"),
        ("12e300", "1.2e301"),
        ("0e400", "0"),
        ("66.89999999999999", "66.89999999999999"),
        ("123456789012345678901234567890123456789012345.00", "123456789012345678901234567890123456789012345.00"),
    ] {
        let number = decimal(text);
        assert_eq!(number.as_str(), text.trim());
        assert_eq!(number.canonical(), canonical, "{text}");
        assert_eq!(decimal(canonical).to_rational(), number.to_rational(), "{text}");
        let identity = number.convert(&Conversion::IDENTITY);
        assert_eq!((identity.text.as_str(), identity.rounded), (canonical, false));
    }
}

#[test]
fn text_that_is_not_a_decimal_number_is_refused() {
    for text in [
        "", " ", ".", "+", "-", "e5", ".e5", "1e", "1e+", "1e5.0", "--1", "+-1", "1-", "NaN", "Infinity", "-inf",
        "0x10", "1,5", "1_000", "1 000", "5.5 kg", "1.2.3", "１", "null",
    ] {
        assert_eq!(Decimal::parse(text).err(), Some(DecimalError::Malformed), "{text}");
    }
    for text in ["1e401", "1e-401", "1e99999999999999999999", &"9".repeat(401), &format!("0.{}", "0".repeat(400))] {
        assert_eq!(Decimal::parse(text).err(), Some(DecimalError::OutOfBounds), "{text}");
    }
    assert!(Decimal::parse(&"9".repeat(400)).is_ok());
}

#[test]
fn conversions_with_a_finite_expansion_are_exact() {
    assert_eq!(converted("66.89999999999999", 254, 0, 100), ("169.9259999999999746".into(), false));
    assert_eq!(converted("97", 5, -160, 9), ("36.1111111111111".into(), true));
    assert_eq!(converted("98.6", 5, -160, 9), ("37".into(), false));
    assert_eq!(converted("-40", 5, -160, 9), ("-40".into(), false));
    assert_eq!(converted("16400", 1000, 0, 133_322), ("123.010455888751".into(), true));
    assert_eq!(converted("0.98", 100, 0, 1), ("98".into(), false));
    assert_eq!(converted("1.50", 1000, 0, 1), ("1500".into(), false));
    assert_eq!(converted("0", 1, 0, 3), ("0".into(), false));
    assert_eq!(converted("1e300", 1, 0, 3), ("3.33333333333333e299".into(), true));
    assert_eq!(converted("1e-300", 2, 0, 3), ("6.66666666666667e-301".into(), true));
    // A short number divided by a long one gets 15 digits too, and a sixteenth digit is dropped.
    assert_eq!(converted("1", 1, 0, 133_322), ("0.00000750063755419211".into(), true));
    assert_eq!(converted("3000000000000002", 1, 0, 3), ("1000000000000000".into(), true));
    assert_eq!(converted("-2", 1, 0, 3), ("-0.666666666666667".into(), true));
    let wide = "12345678901234567890123456789012345678901234567890.5";
    assert_eq!(converted(wide, 2, 0, 1), ("24691357802469135780246913578024691357802469135781".into(), false));
}

#[test]
fn decimals_compare_by_value_and_not_by_notation() {
    assert!(decimal("1.50").cmp_value(&decimal("1.5")).is_eq());
    assert!(decimal("1e-400").cmp_value(&decimal("0")).is_gt());
    assert!(decimal("-1e400").cmp_value(&decimal("1e-400")).is_lt());
    assert!(decimal("9".repeat(50).as_str()).cmp_value(&decimal("1e50")).is_lt());
}

#[test]
fn conversions_compose_and_invert() {
    let fahrenheit = Conversion::new(5, -160, 9).unwrap();
    assert_eq!(fahrenheit.then(&fahrenheit.inverse().unwrap()), Some(Conversion::IDENTITY));
    assert_eq!(Conversion::new(10, 0, -20).map(|conversion| conversion.parts()), Some((-1, 0, 2)));
    assert_eq!(Conversion::new(0, 1, 1), None);
    assert_eq!(Conversion::new(1, 1, 0), None);
}

/// Rounds half-even to 15 significant digits, in the simplest way, as a reference.
fn reference(value: &BigRational) -> BigRational {
    if value.is_zero() {
        return value.clone();
    }
    let (ten, mut scale) = (BigRational::from(BigInt::from(10)), BigRational::one());
    let limit = BigRational::from(BigInt::from(10).pow(15));
    let floor = BigRational::from(BigInt::from(10).pow(14));
    while (value.abs() * &scale) >= limit {
        scale /= &ten;
    }
    while (value.abs() * &scale) < floor {
        scale *= &ten;
    }
    let scaled = value.abs() * &scale;
    let half = BigRational::new(BigInt::from(1), BigInt::from(2));
    let (whole, rest) = (scaled.floor(), scaled.fract());
    let up = rest > half || (rest == half && whole.to_integer().is_odd());
    let rounded = (if up { whole + BigRational::one() } else { whole }) / scale;
    if value.is_negative() { -rounded } else { rounded }
}

proptest! {
    #[test]
    fn canonical_text_denotes_the_same_number(text in "[+-]?[0-9]{1,45}(\\.[0-9]{0,45})?([eE][+-]?[0-9]{1,2})?") {
        let number = decimal(&text);
        let canonical = number.canonical();
        let again = decimal(&canonical);
        prop_assert_eq!(again.to_rational(), number.to_rational());
        prop_assert_eq!(again.canonical(), canonical);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,40}") {
        let _ = Decimal::parse(&text);
    }

    #[test]
    fn conversion_agrees_with_rational_arithmetic(
        text in "-?[0-9]{1,40}(\\.[0-9]{1,20})?(e-?[0-9]{1,2})?",
        factor in 1_i128..1_000_000_000,
        shift in -100_000_i128..100_000,
        divisor in 1_i128..1_000_000,
    ) {
        let number = decimal(&text);
        let exact = (number.to_rational() * BigInt::from(factor) + BigInt::from(shift)) / BigInt::from(divisor);
        let converted = number.convert(&Conversion::new(factor, shift, divisor).unwrap());
        let value = decimal(&converted.text).to_rational();
        if converted.rounded {
            prop_assert_ne!(&value, &exact);
            prop_assert_eq!(value, reference(&exact));
        } else {
            prop_assert_eq!(value, exact);
        }
    }

    #[test]
    fn order_agrees_with_rational_arithmetic(
        left in "-?[0-9]{1,30}(\\.[0-9]{1,10})?(e-?[0-9]{1,2})?",
        right in "-?[0-9]{1,30}(\\.[0-9]{1,10})?(e-?[0-9]{1,2})?",
    ) {
        let (left, right) = (decimal(&left), decimal(&right));
        prop_assert_eq!(left.cmp_value(&right), left.to_rational().cmp(&right.to_rational()));
    }
}
