//! The list of the event schemas of this release.

use super::schema::{Event, EventSchema, SchemaError};
use crate::event::{Assignment, Document, Outcome, Reading};

/// Returns the schemas of all events of this release. They are published, and the schemas of other releases are resolved to them.
///
/// # Errors
/// [`SchemaError`] when a compiled-in schema does not parse.
pub fn own_schemas() -> Result<Vec<EventSchema>, SchemaError> {
    Ok(vec![
        EventSchema::parse(Reading::NAME, Reading::SCHEMA)?,
        EventSchema::parse(Assignment::NAME, Assignment::SCHEMA)?,
        EventSchema::parse(Document::NAME, Document::SCHEMA)?,
        EventSchema::parse(Outcome::NAME, Outcome::SCHEMA)?,
    ])
}
