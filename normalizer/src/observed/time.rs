//! The time of an observation: an instant, an imprecise time such as a day, or an interval.

use schemas::{
    moment::{Moment, Precision},
    rejection::Reason,
};

use crate::refusal::{Refused, refused};

/// The time fields of a reading. The default is an observation without a time.
pub(crate) struct Times {
    pub(crate) from: Option<i64>,
    pub(crate) until: Option<i64>,
    pub(crate) imprecise_until: Option<i64>,
    pub(crate) precision: Precision,
    pub(crate) offset_minutes: Option<i32>,
    pub(crate) from_text: Option<String>,
    pub(crate) until_text: Option<String>,
    /// Whether one of the texts has no offset and was read as UTC, or with the offset of the other text.
    pub(crate) local: bool,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            from: None,
            until: None,
            imprecise_until: None,
            precision: Precision::None,
            offset_minutes: None,
            from_text: None,
            until_text: None,
            local: false,
        }
    }
}

impl Times {
    /// Parses a start and an end; either may be absent.
    pub(crate) fn read(from: Option<&str>, until: Option<&str>) -> Result<Self, Refused> {
        let mut times = Self::default();
        let mut begin = from.map(|text| read(text, None)).transpose()?;
        let end = until.map(|text| read(text, begin.as_ref().and_then(Moment::offset_minutes))).transpose()?;
        // A date has no offset of its own. Beside an end with an offset, it is read as a day at that offset.
        if let (Some(text), Some(moment), Some(end)) = (from, &begin, &end)
            && moment.offset_minutes().is_none()
            && end.offset_minutes().is_some()
        {
            begin = Some(read(text, end.offset_minutes())?);
        }
        if let (Some(text), Some(moment)) = (from, begin) {
            times.from = Some(moment.from_us());
            times.imprecise_until = moment.until_us();
            times.precision = moment.precision();
            times.offset_minutes = moment.offset_minutes().map(i32::from);
            times.local = moment.zone_assumed();
            times.from_text = Some(text.to_owned());
        }
        if let (Some(text), Some(moment)) = (until, end) {
            // An imprecise end includes the whole period that it may mean (FHIR R4, Period.end), but not the instant after that
            // period.
            let until = moment.until_us().unwrap_or_else(|| moment.from_us());
            if times.from.is_some_and(|from| until < from || (until == from && moment.until_us().is_some())) {
                return Err(refused(Reason::TimeInvalid, "the end is before the start"));
            }
            times.until = Some(until);
            times.local |= moment.zone_assumed();
            times.until_text = Some(text.to_owned());
        }
        Ok(times)
    }

    /// Start and end as literals for the reading's id: microseconds since the epoch instead of the text. A phone writes its
    /// whole history with the offset of the day of the export, so the text of the same instant changes between exports.
    pub(crate) fn instants(&self) -> [Option<String>; 2] {
        [self.from, self.until].map(|instant| instant.map(|microseconds| microseconds.to_string()))
    }
}

fn read(text: &str, offset_minutes: Option<i16>) -> Result<Moment, Refused> {
    Moment::fhir(text, offset_minutes.unwrap_or(0))
        .map_err(|_| refused(Reason::TimeInvalid, "a time is not in RFC 3339 format or does not exist"))
}
