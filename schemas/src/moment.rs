//! Times as senders write them: RFC 3339 and its relatives, FHIR's partial dates, seconds since 1970.

use crate::codec::avro_enum;

const US_PER_SECOND: i64 = 1_000_000;
const US_PER_MINUTE: i64 = 60 * US_PER_SECOND;
const US_PER_DAY: i64 = 86_400 * US_PER_SECOND;
/// 14:00, the widest offset that FHIR R4 (`dateTime`) and XML Schema part 2, section 3.2.7.3, allow.
const OFFSET_MINUTES_MAX: i16 = 14 * 60;
/// 0001-01-01T00:00:00Z in microseconds since 1970-01-01T00:00:00Z: the first instant that is accepted.
pub const FIRST_US: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z in microseconds since 1970-01-01T00:00:00Z: the last instant that is accepted.
pub const LAST_US: i64 = 253_402_300_799_999_999;

avro_enum! {
    /// How precisely a time was written.
    pub enum Precision {
        /// No time at all. No [`Moment`] has it.
        None = "none",
        /// A year, `2024`.
        Year = "year",
        /// A year and a month, `2024-02`.
        Month = "month",
        /// A date, `2024-02-29`.
        Day = "day",
        /// To the minute, `2024-02-29T12:30Z`.
        Minute = "minute",
        /// To the second.
        Second = "second",
        /// One to three fraction digits.
        Millisecond = "millisecond",
        /// Four to six fraction digits.
        Microsecond = "microsecond",
        /// Seven to nine fraction digits; the digits after the sixth are in the original text only.
        Nanosecond = "nanosecond",
    }
}

/// An instant or an imprecise time span, and the text that the sender wrote.
///
/// It has no `Debug`, because the time of a measurement is health data.
#[derive(Clone, PartialEq, Eq)]
pub struct Moment {
    from_us: i64,
    until_us: Option<i64>,
    precision: Precision,
    offset_minutes: Option<i16>,
    zone_assumed: bool,
    text: Box<str>,
}

/// Why a text is not a time. The error contains nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// The text has none of the accepted shapes.
    #[error("not a time in an accepted notation")]
    Malformed,
    /// The shape is right, but there is no such date, hour, leap second or offset (February 30, 24:00, +15:00).
    #[error("no such time")]
    NoSuchTime,
    /// The instant is outside the years 1 to 9999, counted in UTC.
    #[error("time outside the years 1 to 9999")]
    OutOfRange,
}

impl Moment {
    /// Parses a date with a time of day: RFC 3339, section 5.6, with any number of fraction digits, of which those after the sixth
    /// are dropped. A space instead of the `T`, an offset without its colon or its minutes, a space before the offset (Apple and
    /// Health Auto Export write `2021-12-24 00:04:00 +0800`) and a missing second are accepted too.
    ///
    /// A time without an offset is read as UTC, and [`Moment::zone_assumed`] is then true. `-00:00` denotes a known instant with an
    /// unknown local offset (RFC 3339, section 4.3). A leap second `:60` is accepted where UTC can have one, at the end of a UTC
    /// day, and is read as the first second of the next day, as in POSIX and Postgres. `24:00` is refused.
    ///
    /// # Errors
    /// [`MomentError`] for a wrong shape, an impossible date or time, or an instant out of range.
    pub fn rfc3339(text: &str) -> Result<Self, MomentError> {
        date_time(text.trim_ascii(), 0)
    }

    /// Parses a FHIR R4 `date`, `dateTime` or `instant` (datatypes, section 2.24.0.1): a year, a month, a day, or anything that
    /// [`Moment::rfc3339`] accepts. A date or a time without an offset is read with `assumed_offset_minutes` (minutes east of
    /// Greenwich; 0 for UTC), and [`Moment::zone_assumed`] is then true.
    ///
    /// # Errors
    /// [`MomentError`] for a wrong shape, an impossible date or time, or an instant out of range.
    pub fn fhir(text: &str, assumed_offset_minutes: i16) -> Result<Self, MomentError> {
        let text = text.trim_ascii();
        match text.len() {
            4 | 7 | 10 => date(text, assumed_offset_minutes),
            _ => date_time(text, assumed_offset_minutes),
        }
    }

    /// Creates an instant that the sender wrote in another notation, such as a number of seconds. `fraction_digits` is the number
    /// of fraction digits of the second in the text.
    ///
    /// # Errors
    /// [`MomentError::OutOfRange`] outside the years 1 to 9999.
    pub fn instant(from_us: i64, fraction_digits: u32, text: &str) -> Result<Self, MomentError> {
        Ok(Self {
            from_us: in_range(from_us)?,
            until_us: None,
            precision: precision_of_digits(fraction_digits),
            offset_minutes: None,
            zone_assumed: false,
            text: text.into(),
        })
    }

    /// Returns the earliest instant that the text may denote, in microseconds since 1970-01-01T00:00:00Z. Digits after the
    /// microsecond are dropped, so the instant is never later than the written one.
    #[must_use]
    pub fn from_us(&self) -> i64 {
        self.from_us
    }

    /// Returns the exclusive end of the time span when the precision is coarser than a second, in microseconds since
    /// 1970-01-01T00:00:00Z; never after [`LAST_US`]. `None` for an instant.
    #[must_use]
    pub fn until_us(&self) -> Option<i64> {
        self.until_us
    }

    /// Returns how precisely the time was written.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns the sender's offset in minutes east of Greenwich; `None` when the text has no known offset.
    #[must_use]
    pub fn offset_minutes(&self) -> Option<i16> {
        self.offset_minutes
    }

    /// Returns whether the text has neither an offset nor `Z`, so that the instant rests on an assumption. The caller sets a flag.
    #[must_use]
    pub fn zone_assumed(&self) -> bool {
        self.zone_assumed
    }

    /// Returns the text as received, without the white space around it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn date(text: &str, assumed_offset_minutes: i16) -> Result<Moment, MomentError> {
    let (year, month, day, precision) = match text.as_bytes() {
        [y @ .., b'-', m1, m2, b'-', d1, d2] => (y, pair(*m1, *m2), pair(*d1, *d2), Precision::Day),
        [y @ .., b'-', m1, m2] => (y, pair(*m1, *m2), Some(1), Precision::Month),
        y => (y, Some(1), Some(1), Precision::Year),
    };
    let (Some(year), Some(month), Some(day)) = (quad(year), month, day) else { return Err(MomentError::Malformed) };
    let first = days(year, month, day)?;
    let after = match precision {
        Precision::Year => civil_days(year + 1, 1, 1),
        // A thirteenth month is the next January.
        Precision::Month => civil_days(year, month + 1, 1),
        _ => first + 1,
    };
    let offset_us = i64::from(checked_offset(assumed_offset_minutes)?) * US_PER_MINUTE;
    let from_us = in_range(first * US_PER_DAY - offset_us)?;
    let until_us = Some((after * US_PER_DAY - offset_us).min(LAST_US));
    Ok(Moment { from_us, until_us, precision, offset_minutes: None, zone_assumed: true, text: text.into() })
}

fn date_time(text: &str, assumed_offset_minutes: i16) -> Result<Moment, MomentError> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't' | b' ', h1, h2, b':', n1, n2, rest @ ..] =
        text.as_bytes()
    else {
        return Err(MomentError::Malformed);
    };
    let (Some(year), Some(month), Some(day), Some(hour), Some(minute)) =
        (quad(&[*y1, *y2, *y3, *y4]), pair(*m1, *m2), pair(*d1, *d2), pair(*h1, *h2), pair(*n1, *n2))
    else {
        return Err(MomentError::Malformed);
    };
    let seconds = Seconds::read(rest)?;
    let zone = Zone::read(seconds.rest)?;
    let day = days(year, month, day)?;
    if hour > 23 || minute > 59 || seconds.second > 60 {
        return Err(MomentError::NoSuchTime);
    }
    let (shift, offset_minutes) = match zone {
        Zone::Offset(offset) => (checked_offset(offset)?, Some(offset)),
        Zone::Unstated => (0, None),
        Zone::Absent => (checked_offset(assumed_offset_minutes)?, None),
    };
    let second_us = day * US_PER_DAY + ((hour * 60 + minute) * 60 + seconds.second) * US_PER_SECOND
        - i64::from(shift) * US_PER_MINUTE;
    if seconds.second == 60 && second_us.rem_euclid(US_PER_DAY) != 0 {
        return Err(MomentError::NoSuchTime);
    }
    let from_us = in_range(second_us + seconds.fraction_us)?;
    let until_us = (seconds.precision == Precision::Minute).then(|| (from_us + US_PER_MINUTE).min(LAST_US));
    Ok(Moment {
        from_us,
        until_us,
        precision: seconds.precision,
        offset_minutes,
        zone_assumed: matches!(zone, Zone::Absent),
        text: text.into(),
    })
}

/// The seconds, their fraction, and the rest of the text.
struct Seconds<'a> {
    second: i64,
    fraction_us: i64,
    precision: Precision,
    rest: &'a [u8],
}

impl<'a> Seconds<'a> {
    fn read(text: &'a [u8]) -> Result<Self, MomentError> {
        let [b':', s1, s2, rest @ ..] = text else {
            return Ok(Self { second: 0, fraction_us: 0, precision: Precision::Minute, rest: text });
        };
        let second = pair(*s1, *s2).ok_or(MomentError::Malformed)?;
        let [b'.', fraction @ ..] = rest else {
            return Ok(Self { second, fraction_us: 0, precision: Precision::Second, rest });
        };
        let (mut fraction_us, mut count, mut rest) = (0_i64, 0_u32, fraction);
        while let [digit @ b'0'..=b'9', behind @ ..] = rest {
            if count < 6 {
                fraction_us = fraction_us * 10 + i64::from(digit - b'0');
            }
            count += 1;
            rest = behind;
        }
        if count == 0 {
            return Err(MomentError::Malformed);
        }
        fraction_us *= 10_i64.pow(6_u32.saturating_sub(count));
        Ok(Self { second, fraction_us, precision: precision_of_digits(count), rest })
    }
}

enum Zone {
    /// Minutes east of Greenwich.
    Offset(i16),
    /// `-00:00`: the instant is known, the sender's offset is not.
    Unstated,
    Absent,
}

impl Zone {
    fn read(text: &[u8]) -> Result<Self, MomentError> {
        let text = match text {
            [b' ', rest @ ..] => rest,
            _ => text,
        };
        let (sign, hours, minutes) = match text {
            [] => return Ok(Self::Absent),
            [b'Z' | b'z'] => return Ok(Self::Offset(0)),
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
                (*sign, pair(*h1, *h2), pair(*m1, *m2))
            }
            [sign @ (b'+' | b'-'), h1, h2] => (*sign, pair(*h1, *h2), Some(0)),
            _ => return Err(MomentError::Malformed),
        };
        let (Some(hours), Some(minutes)) = (hours, minutes) else { return Err(MomentError::Malformed) };
        if minutes > 59 {
            return Err(MomentError::NoSuchTime);
        }
        let offset = i16::try_from(hours * 60 + minutes).map_err(|_| MomentError::NoSuchTime)?;
        Ok(match (sign, offset) {
            (b'-', 0) => Self::Unstated,
            (b'-', _) => Self::Offset(-offset),
            _ => Self::Offset(offset),
        })
    }
}

fn precision_of_digits(fraction_digits: u32) -> Precision {
    match fraction_digits {
        0 => Precision::Second,
        1..=3 => Precision::Millisecond,
        4..=6 => Precision::Microsecond,
        _ => Precision::Nanosecond,
    }
}

fn in_range(us: i64) -> Result<i64, MomentError> {
    if (FIRST_US..=LAST_US).contains(&us) { Ok(us) } else { Err(MomentError::OutOfRange) }
}

fn checked_offset(minutes: i16) -> Result<i16, MomentError> {
    if (-OFFSET_MINUTES_MAX..=OFFSET_MINUTES_MAX).contains(&minutes) {
        Ok(minutes)
    } else {
        Err(MomentError::NoSuchTime)
    }
}

/// Days since 1970-01-01 of a date; an error when the date does not exist.
fn days(year: i64, month: i64, day: i64) -> Result<i64, MomentError> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return Err(MomentError::NoSuchTime),
    };
    if year < 1 {
        return Err(MomentError::OutOfRange);
    }
    if day < 1 || day > last {
        return Err(MomentError::NoSuchTime);
    }
    Ok(civil_days(year, month, day))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. The year is counted from March, so that the leap day is its last
/// day. There are 719,468 days from 0000-03-01 to 1970-01-01.
fn civil_days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

fn pair(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn quad(text: &[u8]) -> Option<i64> {
    let [a, b, c, d] = text else { return None };
    Some(pair(*a, *b)? * 100 + pair(*c, *d)?)
}
