//! The times of a Medisanté message: RFC 3339, or a number since 1970.

use catalogue::decimal::Decimal;
use schemas::moment::{Moment, MomentError};

/// Numbers of at least this magnitude are milliseconds: in seconds it would be the year 5138, in milliseconds it is March 1973.
const MILLISECONDS_FROM: i128 = 100_000_000_000;

/// Parses a time as Medisanté documents it for `measurements.timestamp`. A text of digits only is always a number, never a
/// year.
///
/// # Errors
/// [`MomentError`], as returned by [`Moment::rfc3339`] and [`epoch`].
pub(super) fn read(text: &str) -> Result<Moment, MomentError> {
    let text = text.trim_ascii();
    match text.as_bytes() {
        [_, _, _, _, b'-', ..] => Moment::rfc3339(text),
        _ => epoch(text),
    }
}

/// Parses the time since 1970-01-01T00:00:00Z as a decimal number. The unit is seconds, or milliseconds if the magnitude is
/// 100,000,000,000 or more, which in seconds would be after the year 5138. Microseconds and nanoseconds are refused as out of
/// range.
fn epoch(text: &str) -> Result<Moment, MomentError> {
    let number = Decimal::parse(text).map_err(|_| MomentError::Malformed)?;
    let (mantissa, exponent) = number.small_parts().ok_or(MomentError::OutOfRange)?;
    let whole = floor_scaled(mantissa, exponent).ok_or(MomentError::OutOfRange)?;
    let milliseconds = whole >= MILLISECONDS_FROM || whole <= -MILLISECONDS_FROM;
    let fraction = exponent.min(0).unsigned_abs();
    let (to_us, digits) = if milliseconds { (3, 3 + fraction) } else { (6, fraction) };
    let us = floor_scaled(mantissa, exponent + to_us).ok_or(MomentError::OutOfRange)?;
    Moment::instant(i64::try_from(us).map_err(|_| MomentError::OutOfRange)?, digits, number.as_str())
}

/// The greatest integer that is not greater than `mantissa × 10^exponent`.
fn floor_scaled(mantissa: i128, exponent: i32) -> Option<i128> {
    if mantissa == 0 {
        return Some(0);
    }
    match 10_i128.checked_pow(exponent.unsigned_abs()) {
        Some(power) if exponent < 0 => Some(mantissa.div_euclid(power)),
        Some(power) => mantissa.checked_mul(power),
        None if exponent < 0 => Some(if mantissa < 0 { -1 } else { 0 }),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use schemas::moment::{LAST_US, MomentError, Precision};

    use super::{epoch, read};

    const SECOND_US: i64 = 1_000_000;
    const DAY_US: i64 = 86_400 * SECOND_US;

    #[test]
    fn numbers_are_times_since_1970() {
        for (text, from_us, precision) in [
            ("0", 0, Precision::Second),
            ("1700000000", 1_700_000_000 * SECOND_US, Precision::Second),
            ("1.7e9", 1_700_000_000 * SECOND_US, Precision::Second),
            ("1700000000.25", 1_700_000_000_250_000, Precision::Millisecond),
            ("1700000000.123456789", 1_700_000_000_123_456, Precision::Nanosecond),
            ("-0.0000001", -1, Precision::Nanosecond),
            ("1e-50", 0, Precision::Nanosecond),
            ("-1e-50", -1, Precision::Nanosecond),
            ("1700000000123", 1_700_000_000_123_000, Precision::Millisecond),
            ("1700000000123.5", 1_700_000_000_123_500, Precision::Microsecond),
            ("99999999999", 99_999_999_999 * SECOND_US, Precision::Second),
            ("100000000000", 100_000_000 * SECOND_US, Precision::Millisecond),
            ("253402300799999", LAST_US - 999, Precision::Millisecond),
        ] {
            let moment = epoch(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(moment.from_us(), from_us, "{text}");
            assert_eq!(moment.precision(), precision, "{text}");
            assert_eq!((moment.offset_minutes(), moment.until_us(), moment.zone_assumed()), (None, None, false));
        }
        for text in ["253402300800000", "1700000000000000", "1e400", "-1e300", &"9".repeat(60)] {
            assert_eq!(epoch(text).err(), Some(MomentError::OutOfRange), "{text}");
        }
        for text in ["", "NaN", "2024-01-01T00:00:00Z", "17e"] {
            assert_eq!(epoch(text).err(), Some(MomentError::Malformed), "{text}");
        }
        assert_eq!(read("1700000000").map(|moment| moment.from_us()), Ok(1_700_000_000 * SECOND_US));
        assert_eq!(read("1970-01-02T00:00:00Z").map(|moment| moment.from_us()), Ok(DAY_US));
        assert_eq!(read("2024").map(|moment| moment.from_us()), Ok(2024 * SECOND_US));
    }
}
