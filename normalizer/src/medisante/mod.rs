//! The JSON and XML formats of the Medisanté portal. `wire` is the shape of the message, `xml` converts a message in XML to
//! JSON. `message` contains what the readings of a message share, and `map` turns its measurements into readings, with `value`,
//! `document` and `annotation`.

mod annotation;
mod document;
mod map;
mod message;
mod timestamp;
mod value;
mod wire;
mod xml;

use schemas::rejection::Reason;

use crate::{
    json::{self, Noted},
    observed::{ItemResults, Payload},
    refusal::{Refused, refused},
    shape::{ShapeError, shape_error},
};
use message::{Head, Sent};

/// Maps a `standard-json` payload: one message with any number of measurements.
pub(crate) fn standard_json(payload: Payload<'_>) -> ItemResults {
    read(|items| {
        let text = json::text(payload.record.body)?;
        let message = message(text).map_err(|fault| json::refused_by(text, || fault))?;
        let head = Head::of(payload, Sent::Json, &message, &mut items.unknown)?;
        map::items(&head, &message.known, items);
        Ok(())
    })
}

/// Maps a `standard-xml` payload: the same message, with elements as members.
pub(crate) fn standard_xml(payload: Payload<'_>) -> ItemResults {
    read(|items| {
        let tree = crate::xml::read(payload.record.body, None)?;
        let root = tree.root().ok_or(refused(Reason::UnexpectedShape, "the body has no element"))?;
        let text = xml::json(root)?;
        let message = message(&text).map_err(|fault| fault.refused("the root element"))?;
        let measurements = xml::Groups::at(root, &["measurements"])?;
        let sent = Sent::Xml { documents: xml::Groups::at(root, &["measurements", "documents"])?, measurements };
        let head = Head::of(payload, sent, &message, &mut items.unknown)?;
        map::items(&head, &message.known, items);
        Ok(())
    })
}

fn message(text: &str) -> Result<Noted<'_, wire::Message<'_>>, ShapeError> {
    serde_json::from_str(text).map_err(|_| shape_error::<Noted<'_, wire::Message<'_>>>(text).expecting(&wire::REQUIRED))
}

fn read(payload: impl FnOnce(&mut ItemResults) -> Result<(), Refused>) -> ItemResults {
    let mut items = ItemResults::default();
    if let Err(refusal) = payload(&mut items) {
        items.refuse_all(refusal);
    } else if items.readings.is_empty() && items.rejections.is_empty() {
        items.refuse_all(refused(Reason::Empty, "the message contains no measurement"));
    }
    items
}
