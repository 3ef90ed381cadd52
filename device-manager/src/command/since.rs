//! A time on the command line: a duration before now, or a time.

use std::{fmt, str::FromStr};

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::error::CommandError;

/// A duration before now, or a time, together with the text that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Since {
    text: String,
    from: From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Ago(Duration),
    Moment(OffsetDateTime),
}

impl Since {
    /// The time that it denotes, relative to `now`.
    pub(crate) fn moment(&self, now: OffsetDateTime) -> OffsetDateTime {
        match self.from {
            From::Ago(ago) => now.checked_sub(ago).unwrap_or(OffsetDateTime::UNIX_EPOCH),
            From::Moment(moment) => moment,
        }
    }
}

/// Returns the times of `--since` and `--until`.
///
/// # Errors
/// No time is between them.
pub(crate) fn span(
    since: Option<&Since>,
    until: Option<&Since>,
    now: OffsetDateTime,
) -> Result<(Option<OffsetDateTime>, Option<OffsetDateTime>), CommandError> {
    let at = |time: Option<&Since>| time.map(|time| time.moment(now));
    match (since, until) {
        (Some(begin), Some(end)) if begin.moment(now) >= end.moment(now) => {
            Err(CommandError::usage(format!("--since {begin} is not before --until {end}")))
        }
        _ => Ok((at(since), at(until))),
    }
}

impl fmt::Display for Since {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            From::Ago(_) => write!(to, "{} ago", self.text),
            From::Moment(_) => to.write_str(&self.text),
        }
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a number with s, m, h or d, such as 24h, or a time such as 2026-01-31T00:00:00Z";
        let from = match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(moment) => From::Moment(moment),
            Err(_) => From::Ago(ago(text).ok_or(FORM)?),
        };
        Ok(Self { text: text.to_owned(), from })
    }
}

fn ago(text: &str) -> Option<Duration> {
    let unit = match text.chars().next_back()? {
        's' => Duration::SECOND,
        'm' => Duration::MINUTE,
        'h' => Duration::HOUR,
        'd' => Duration::DAY,
        _ => return None,
    };
    let number: u16 = text.get(..text.len() - 1)?.parse().ok()?;
    Some(unit * i32::from(number))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn since_accepts_a_duration_or_a_time_and_nothing_else() {
        let now = datetime!(2026-02-01 12:00:00 UTC);
        let moment = |text: &str| Since::from_str(text).map(|since| since.moment(now));
        assert_eq!(moment("90m"), Ok(datetime!(2026-02-01 10:30:00 UTC)));
        assert_eq!(moment("7d"), Ok(datetime!(2026-01-25 12:00:00 UTC)));
        assert_eq!(moment("2026-01-31T00:00:00+01:00"), Ok(datetime!(2026-01-30 23:00:00 UTC)));
        for wrong in ["", "h", "24", "-1h", "1.5h", "24 h", "1w", "99999d", "ä", "2026-01-31"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
    #[test]
    fn a_span_has_some_time_in_it() {
        let now = datetime!(2026-02-01 12:00:00 UTC);
        let [day, hour] = ["1d", "1h"].map(|text| Since::from_str(text).unwrap());
        assert_eq!(span(Some(&day), None, now).unwrap(), (Some(datetime!(2026-01-31 12:00:00 UTC)), None));
        assert!(span(Some(&day), Some(&hour), now).is_ok());
        for (since, until) in [(&hour, &day), (&day, &day)] {
            let refused = span(Some(since), Some(until), now).unwrap_err().to_string();
            assert_eq!(refused, format!("--since {since} is not before --until {until}"));
        }
    }
}
