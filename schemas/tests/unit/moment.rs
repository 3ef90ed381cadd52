use proptest::prelude::*;
use schemas::moment::{FIRST_US, LAST_US, Moment, MomentError, Precision};

fn read(text: &str) -> Moment {
    Moment::rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

const SECOND_US: i64 = 1_000_000;

#[test]
fn times_are_read_in_every_accepted_notation() {
    use Precision::{Microsecond, Millisecond, Minute, Nanosecond, Second};
    for (text, from_us, precision, offset) in [
        ("1970-01-01T00:00:00Z", 0, Second, Some(0)),
        ("1970-01-01t00:00:00z", 0, Second, Some(0)),
        ("1970-01-01T00:00Z", 0, Minute, Some(0)),
        ("2024-07-23T15:44:05.993+0200", 1_721_742_245_993_000, Millisecond, Some(120)),
        ("2024-07-23T15:44:05.993+02:00", 1_721_742_245_993_000, Millisecond, Some(120)),
        ("2021-12-24 00:04:00 +0800", 1_640_275_440_000_000, Second, Some(480)),
        ("2014-09-21 07:08:47 +0100", 1_411_279_727_000_000, Second, Some(60)),
        ("2014-09-21 07:08:47-05", 1_411_301_327_000_000, Second, Some(-300)),
        ("2024-02-29T12:00:00.123456Z", 1_709_208_000_123_456, Microsecond, Some(0)),
        ("2024-02-29T12:00:00.123456789Z", 1_709_208_000_123_456, Nanosecond, Some(0)),
        ("2024-02-29T12:00:00.1234567890123Z", 1_709_208_000_123_456, Nanosecond, Some(0)),
        ("1969-12-31T23:59:59.9999999Z", -1, Nanosecond, Some(0)),
        ("2024-02-29T12:00:00.5-05:30", 1_709_227_800_500_000, Millisecond, Some(-330)),
        ("2024-02-29T12:00:00-00:00", 1_709_208_000_000_000, Second, None),
        ("2024-02-29T12:00:00+14:00", 1_709_157_600_000_000, Second, Some(840)),
        ("2024-02-29T12:00:00-14:00", 1_709_258_400_000_000, Second, Some(-840)),
        ("0001-01-01T00:00:00Z", FIRST_US, Second, Some(0)),
        ("9999-12-31T23:59:59.999999Z", LAST_US, Microsecond, Some(0)),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000, Second, Some(0)),
        ("2017-01-01T00:59:60.5+01:00", 1_483_228_800_500_000, Millisecond, Some(60)),
        ("  2000-02-29T00:00:00Z ", 951_782_400_000_000, Second, Some(0)),
    ] {
        let moment = read(text);
        assert_eq!(moment.from_us(), from_us, "{text}");
        assert_eq!(moment.precision(), precision, "{text}");
        assert_eq!(moment.offset_minutes(), offset, "{text}");
        assert_eq!(moment.until_us(), (precision == Minute).then_some(from_us + 60 * SECOND_US), "{text}");
        assert_eq!(moment.as_str(), text.trim());
        assert!(!moment.zone_assumed(), "{text}");
    }
}

#[test]
fn a_local_time_is_read_as_utc_and_marked() {
    let moment = read("2024-07-23T15:44:05");
    assert_eq!(moment.from_us(), 1_721_749_445_000_000);
    assert!(moment.zone_assumed());
    assert_eq!(moment.offset_minutes(), None);
    let moment = Moment::fhir("2024-07-23T15:44:05", 120).ok().unwrap();
    assert_eq!(moment.from_us(), 1_721_742_245_000_000);
    assert_eq!(moment.offset_minutes(), None);
}

#[test]
fn partial_dates_are_spans() {
    for (text, offset, from, until, precision) in [
        ("2024", 0, "2024-01-01", "2025-01-01", Precision::Year),
        ("2024-02", 0, "2024-02-01", "2024-03-01", Precision::Month),
        ("2024-12", 0, "2024-12-01", "2025-01-01", Precision::Month),
        ("2024-02-29", 0, "2024-02-29", "2024-03-01", Precision::Day),
        ("2024-02-29", 840, "2024-02-29", "2024-03-01", Precision::Day),
        ("2024-02-29", -840, "2024-02-29", "2024-03-01", Precision::Day),
        ("1900-02-28", 0, "1900-02-28", "1900-03-01", Precision::Day),
        ("0001", 0, "0001-01-01", "0002-01-01", Precision::Year),
    ] {
        let moment = Moment::fhir(text, offset).unwrap_or_else(|error| panic!("{text}: {error}"));
        let shift = i64::from(offset) * 60 * SECOND_US;
        assert_eq!(moment.from_us(), read(&format!("{from}T00:00:00Z")).from_us() - shift, "{text}");
        assert_eq!(moment.until_us(), Some(read(&format!("{until}T00:00:00Z")).from_us() - shift), "{text}");
        assert_eq!(moment.precision(), precision);
        assert_eq!(moment.offset_minutes(), None);
        assert!(moment.zone_assumed());
    }
    assert_eq!(Moment::fhir("9999", 0).ok().and_then(|moment| moment.until_us()), Some(LAST_US));
    assert_eq!(
        Moment::fhir("2015-02-07T13:28:17.239+02:00", 0).map(|moment| moment.from_us()),
        Ok(1_423_308_497_239_000)
    );
}

#[test]
fn text_that_is_not_a_time_is_refused() {
    use MomentError::{Malformed, NoSuchTime, OutOfRange};
    for (text, error) in [
        ("2023-02-29T00:00:00Z", NoSuchTime),
        ("1900-02-29T00:00:00Z", NoSuchTime),
        ("2024-04-31T00:00:00Z", NoSuchTime),
        ("2024-13-01T00:00:00Z", NoSuchTime),
        ("2024-00-01T00:00:00Z", NoSuchTime),
        ("2024-01-00T00:00:00Z", NoSuchTime),
        ("2024-01-01T24:00:00Z", NoSuchTime),
        ("2024-01-01T00:60:00Z", NoSuchTime),
        ("2024-01-01T00:00:61Z", NoSuchTime),
        ("2024-01-01T12:34:60Z", NoSuchTime),
        ("2016-12-31T23:59:60+01:00", NoSuchTime),
        ("2024-01-01T00:00:00+14:01", NoSuchTime),
        ("2024-01-01T00:00:00-15:00", NoSuchTime),
        ("2024-01-01T00:00:00+01:60", NoSuchTime),
        ("0000-12-31T00:00:00Z", OutOfRange),
        ("0001-01-01T00:00:00+00:01", OutOfRange),
        ("9999-12-31T23:59:59-00:01", OutOfRange),
        ("", Malformed),
        ("2024", Malformed),
        ("2024-01-01", Malformed),
        ("2024-01-01T", Malformed),
        ("2024-01-01T00", Malformed),
        ("2024-1-1T00:00:00Z", Malformed),
        ("2024-01-01T00:00:00.Z", Malformed),
        ("2024-01-01T00:00:00,5Z", Malformed),
        ("2024-01-01T00:00:00 ", Malformed),
        ("2024-01-01T00:00:00Z+1", Malformed),
        ("2024-01-01T00:00:00 UTC", Malformed),
        ("2024-01-01T00:00:00+1", Malformed),
        ("-2024-01-01T00:00:00Z", Malformed),
        ("+02024-01-01T00:00:00Z", Malformed),
        ("20240101T000000Z", Malformed),
        ("٢٠٢٤-01-01T00:00:00Z", Malformed),
    ] {
        if text == "2024-01-01T00:00:00 " {
            assert!(Moment::rfc3339(text).is_ok(), "white space around the time is ignored");
        } else {
            assert_eq!(Moment::rfc3339(text).err(), Some(error), "{text}");
        }
    }
    for text in ["20", "2024-", "2024-1", "2024-0x", "202x", "2024-01-0", "2024-01-01T", "2024/01/01", "0000"] {
        assert!(Moment::fhir(text, 0).is_err(), "{text}");
    }
    assert_eq!(Moment::fhir("2024-01-01", 841).err(), Some(NoSuchTime));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,40}") {
        let _ = Moment::rfc3339(&text);
        let _ = Moment::fhir(&text, 0);
    }

    #[test]
    fn agrees_with_the_time_crate(us in FIRST_US..=LAST_US, offset in -840_i32..=840) {
        use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
        let utc = OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1000).unwrap();
        let Some(local) = utc.checked_to_offset(UtcOffset::from_whole_seconds(offset * 60).unwrap()) else { return Ok(()) };
        let Ok(text) = local.format(&Rfc3339) else { return Ok(()) };
        prop_assume!(local.year() >= 1);
        let moment = read(&text);
        prop_assert_eq!(moment.from_us(), us);
        prop_assert_eq!(moment.offset_minutes().map(i32::from), Some(offset));
    }
}
