//! A schema that is compiled into this release, and its fingerprint.

use std::fmt;

use apache_avro::{Schema, rabin::Rabin};
use serde_json::Value;

use super::datum::Datum;

/// CRC-64-AVRO of a schema's Parsing Canonical Form (Apache Avro 1.12 specification, "Schema Fingerprints").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Fingerprint {
    /// Computes the fingerprint of a schema as the specification defines it: the canonical form has no logical types ("Transforming
    /// into Parsing Canonical Form", rule STRIP).
    ///
    /// # Errors
    /// The text is not an Avro schema.
    pub fn of(text: &str) -> Result<Self, apache_avro::Error> {
        Ok(Self::as_apache_avro(&Schema::parse(&without(text, |name, _| name == "logicalType")?)?))
    }

    /// Computes the fingerprint as apache-avro does, which leaves logical types in the canonical form (AVRO-4004). Earlier builds
    /// of this project wrote this fingerprint in front of events.
    pub(super) fn as_apache_avro(schema: &Schema) -> Self {
        let mut fingerprint = Self([0; 8]);
        for (to, from) in fingerprint.0.iter_mut().zip(schema.fingerprint::<Rabin>().bytes) {
            *to = from;
        }
        fingerprint
    }
}

/// Parses the JSON of a schema and removes the object members for which `is_left_out` returns true.
pub(super) fn without(
    text: &str,
    is_left_out: impl Fn(&str, &serde_json::Map<String, Value>) -> bool + Copy,
) -> Result<Value, apache_avro::Error> {
    let mut schema: Value = serde_json::from_str(text).map_err(apache_avro::error::Details::ParseSchemaJson)?;
    leave_out(&mut schema, is_left_out);
    Ok(schema)
}

fn leave_out(value: &mut Value, is_left_out: impl Fn(&str, &serde_json::Map<String, Value>) -> bool + Copy) {
    match value {
        Value::Object(object) => {
            let names: Vec<String> = object.keys().filter(|name| is_left_out(name, object)).cloned().collect();
            for name in names {
                object.remove(&name);
            }
            object.values_mut().for_each(|member| leave_out(member, is_left_out));
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| leave_out(element, is_left_out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An `.avsc` file of this release does not parse: a defect of the build, which the tests and each process at its start detect.
#[derive(Debug, thiserror::Error)]
#[error("the compiled-in schema of {name} is not valid Avro")]
pub struct SchemaError {
    pub(super) name: &'static str,
    pub(super) source: Box<apache_avro::Error>,
}

/// A schema of this release, parsed.
pub struct EventSchema {
    /// The record's full name.
    pub name: &'static str,
    /// The parsed schema.
    pub schema: Schema,
    /// Its fingerprint as the specification defines it. A message has it in front of the datum.
    pub fingerprint: Fingerprint,
    /// The text of the committed file with all `doc` attributes. This text is published.
    pub text: &'static str,
}

impl EventSchema {
    /// Parses a compiled-in schema.
    ///
    /// # Errors
    /// [`SchemaError`] when the text is not an Avro schema.
    pub fn parse(name: &'static str, text: &'static str) -> Result<Self, SchemaError> {
        let broken = |source| SchemaError { name, source: Box::new(source) };
        let schema = Schema::parse_str(text).map_err(broken)?;
        Ok(Self { name, schema, fingerprint: Fingerprint::of(text).map_err(broken)?, text })
    }
}

/// A record that is a Kafka message of its own.
pub trait Event: Datum {
    /// The record's full name in Avro.
    const NAME: &'static str;
    /// The committed `.avsc` text.
    const SCHEMA: &'static str;
    /// The fingerprint of [`Event::SCHEMA`]. It is a constant, so that writing an event needs no work at start. Tests compare it
    /// with the fingerprint computed from the text, and with the one that another library computes.
    const FINGERPRINT: Fingerprint;
}
