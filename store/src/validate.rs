//! Checks events that are not readings for values that Postgres would refuse, so that no batch has to be searched for a bad event.

use schemas::{
    dead_letter::{AboutPayload, DeadLetter},
    event::{Assignment, Document, Outcome},
};

use crate::copy::{RowFault, is_storable};

/// Checks a device command.
///
/// # Errors
/// [`RowFault`]: what cannot be stored.
pub fn assignment(event: &Assignment) -> Result<(), RowFault> {
    let Assignment { device_type, name, serial_number, features, key_id, .. } = event;
    texts([device_type, name, serial_number, features, key_id].into_iter().flatten())?;
    times(event.effective_from.into_iter().chain([event.received_at]))?;
    offset(event.offset)
}

/// Checks a document.
///
/// # Errors
/// [`RowFault`]: what cannot be stored.
pub fn document(event: &Document) -> Result<(), RowFault> {
    texts([Some(&event.content_type), event.key_id.as_ref()].into_iter().flatten())?;
    times([event.received_at])
}

/// Checks an outcome.
///
/// # Errors
/// [`RowFault`]: what cannot be stored.
pub fn outcome(event: &Outcome) -> Result<(), RowFault> {
    texts(event.unknown.iter().map(|unknown| &unknown.shape))?;
    times([event.received_at])?;
    offset(event.offset)
}

/// Checks a dead letter.
///
/// # Errors
/// [`RowFault`]: what cannot be stored.
pub fn dead_letter(letter: &DeadLetter) -> Result<(), RowFault> {
    let DeadLetter { origin_topic, detail, content_hmac, about, .. } = letter;
    let AboutPayload { source, credential, correlation_id, format, provider: _ } = about;
    let payload = [content_hmac, source, credential, correlation_id, format].into_iter().flatten();
    texts([origin_topic, detail].into_iter().chain(payload))?;
    times([letter.origin_timestamp])
}

fn texts<'t>(mut texts: impl Iterator<Item = &'t String>) -> Result<(), RowFault> {
    if texts.any(|text| text.as_bytes().contains(&0)) { Err(RowFault::Nul) } else { Ok(()) }
}

fn times(times: impl IntoIterator<Item = i64>) -> Result<(), RowFault> {
    if times.into_iter().all(is_storable) { Ok(()) } else { Err(RowFault::Time) }
}

/// Offsets are stored as runs, and the offset after the end of a run must exist too.
const fn offset(offset: i64) -> Result<(), RowFault> {
    if 0 <= offset && offset < i64::MAX { Ok(()) } else { Err(RowFault::Number) }
}
