//! The app's dates: `2021-12-24 00:04:00 +0800`, or as the settings of the phone format them.

use std::borrow::Cow;

use schemas::rejection::Reason;

use crate::observed::Times;
use crate::refusal::{Refused, refused};

use super::wire::Entry;

/// Pairs of the fields with an entry's start and end, the more specific ones first. An aggregated sleep has no other interval
/// than that of the sleep itself; its `date` is the day to which it is attributed.
const SPANS: [(&str, &str); 5] = [
    ("startDate", "endDate"),
    ("start", "end"),
    ("sleepStart", "sleepEnd"),
    ("inBedStart", "inBedEnd"),
    ("date", "date"),
];

/// The time of an entry.
pub(super) struct EntryTime<T> {
    pub(super) times: T,
    /// The names of the fields that the time was read from. They include `date` if it repeats the start.
    pub(super) fields: [&'static str; 3],
}

/// Reads the time of an entry.
pub(super) fn read(entry: &Entry<'_>) -> Result<EntryTime<Times>, Refused> {
    for (start, end) in SPANS {
        let Some(from) = entry.literal(start)? else { continue };
        let until = entry.literal(end)?.filter(|until| *until != from);
        let (plain_from, plain_until) = (plain(&from)?, until.as_deref().map(plain).transpose()?);
        let mut times = Times::read(Some(&plain_from), plain_until.as_deref())?;
        let repeated = if entry.literal("date")?.is_some_and(|date| date == from) { "date" } else { start };
        times.from_text = Some(from.into_owned());
        times.until_text = until.map(Cow::into_owned);
        return Ok(EntryTime { times, fields: [start, end, repeated] });
    }
    Ok(EntryTime { times: Times::default(), fields: ["date"; 3] })
}

/// Converts a twelve-hour time to twenty-four hours. A phone with that setting writes `2024-01-05 3:04:00 PM +0800`, since iOS
/// 17 with a narrow no-break space before the marker. Markers in other languages are not recognized, so such times are refused.
fn plain(text: &str) -> Result<Cow<'_, str>, Refused> {
    const NO_TIME: Refused = refused(Reason::TimeInvalid, "a 12-hour time is not valid");
    let spaced =
        if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(text.replace(['\u{202f}', '\u{a0}'], " ")) };
    let folded = spaced.to_ascii_lowercase();
    let marks = [("a.m.", 0), ("p.m.", 12), ("am", 0), ("pm", 12)];
    let Some((at, mark, noon)) =
        marks.into_iter().find_map(|(mark, noon)| folded.find(mark).map(|at| (at, mark, noon)))
    else {
        return Ok(spaced);
    };
    let (clock, zone) = (folded.get(..at).unwrap_or_default(), folded.get(at + mark.len()..).unwrap_or_default());
    let (day, clock) = clock.trim_ascii().split_once([' ', 't']).ok_or(NO_TIME)?;
    let (hour, rest) = clock.trim_ascii().split_once(':').ok_or(NO_TIME)?;
    let hour: u8 = hour.parse().map_err(|_| NO_TIME)?;
    if !(1..=12).contains(&hour) {
        return Err(NO_TIME);
    }
    Ok(Cow::Owned(format!("{day} {:02}:{rest} {}", hour % 12 + noon, zone.trim_ascii()).trim_ascii().to_owned()))
}
