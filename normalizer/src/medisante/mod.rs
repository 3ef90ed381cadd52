//! The Medisanté portal's own JSON. `wire` is the message as it arrives, `map` turns its measurements into readings.

mod map;
mod wire;

use schemas::{event::Document, raw::RawRecord, rejection::Reason};

use crate::{
    json::{self, Object},
    observed::{Items, Origin, Refused, refused},
};

/// Reads a `standard-json` payload: one message with any number of measurements.
pub(crate) fn standard_json(record: &RawRecord<'_>, origin: Origin, documents: &mut Vec<Document>) -> Items {
    let mut items = Items::default();
    if let Err(refusal) = payload(record, origin, &mut items, documents) {
        items.refuse_all(refusal);
    }
    items
}

fn payload(
    record: &RawRecord<'_>,
    origin: Origin,
    items: &mut Items,
    documents: &mut Vec<Document>,
) -> Result<(), Refused> {
    let text = json::text(record.body)?;
    let Object::<wire::Message<'_>>(message) = serde_json::from_str(text).map_err(|_| json::broken(text))?;
    map::items(&map::Head::of(record, origin, &message)?, &message, items, documents);
    if items.readings.is_empty() && items.rejections.is_empty() {
        return Err(refused(Reason::Empty, "the message holds no measurement"));
    }
    Ok(())
}
