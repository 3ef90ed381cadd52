//! The schemas compiled into this release.

use std::fmt;

use apache_avro::{Schema, rabin::Rabin};

use super::Datum;
use crate::event::{Assignment, Document, Outcome, Reading};

/// CRC-64-AVRO of a schema's Parsing Canonical Form (Apache Avro 1.12 specification, "Schema Fingerprints").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An `.avsc` of this release does not parse: a defect of the build, found at start and by the tests.
#[derive(Debug, thiserror::Error)]
#[error("the compiled-in schema of {name} is not valid Avro")]
pub struct SchemaError {
    name: &'static str,
    source: Box<apache_avro::Error>,
}

/// A schema of this release, parsed.
pub struct EventSchema {
    /// The record's full name.
    pub name: &'static str,
    /// The parsed schema.
    pub schema: Schema,
    /// Its fingerprint, which stands in front of each datum.
    pub fingerprint: Fingerprint,
    /// The text as committed, with the docs; this is what is published.
    pub text: &'static str,
}

impl EventSchema {
    /// Parses a compiled-in schema.
    ///
    /// # Errors
    /// [`SchemaError`] when the text is not an Avro schema.
    pub fn parse(name: &'static str, text: &'static str) -> Result<Self, SchemaError> {
        let schema = Schema::parse_str(text).map_err(|source| SchemaError { name, source: Box::new(source) })?;
        let mut fingerprint = Fingerprint([0; 8]);
        for (to, from) in fingerprint.0.iter_mut().zip(schema.fingerprint::<Rabin>().bytes) {
            *to = from;
        }
        Ok(Self { name, schema, fingerprint, text })
    }
}

/// A record that is a Kafka message of its own.
pub trait Event: Datum {
    /// The record's full name in Avro.
    const NAME: &'static str;
    /// The committed `.avsc` text.
    const SCHEMA: &'static str;
    /// The fingerprint of [`Event::SCHEMA`], fixed in code so that no start-up work is needed to write an event; a
    /// test compares it with apache-avro's.
    const FINGERPRINT: Fingerprint;
}

/// The schemas of all events of this release, for publishing and for resolving.
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
