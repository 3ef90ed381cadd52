//! Decodes events that another release wrote.

use std::collections::{BTreeSet, HashMap};

use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use serde_json::Value;

use super::{
    own::own_schemas,
    schema::{Event, Fingerprint, SchemaError, without},
    single_object::{ReadError, decode, fingerprint_of, read_datum},
};

/// Why a message could not be decoded. No such error leads to a dead letter: the reader may be too old, so it waits.
#[derive(Debug, thiserror::Error)]
pub enum WriterSchemaError {
    /// The fingerprint is not in the cache. The caller reads the rest of the `schemas` topic, then waits.
    #[error("the schema {0} is not known yet")]
    Unknown(Fingerprint),
    /// The text published under the fingerprint is not an Avro schema or has another fingerprint.
    #[error("the published schema {0} is not usable")]
    Unusable(Fingerprint),
    /// The writer's schema has a field that our schema lacks, so the value of the field would be lost.
    #[error("this release is too old for the schema {fingerprint}: it does not know its field {field}")]
    TooOld {
        /// The writer's schema.
        fingerprint: Fingerprint,
        /// The record and the field.
        field: String,
    },
    /// The writer's schema does not resolve to ours, ours lacks a value such as an enum symbol, or the datum is broken.
    #[error(
        "this release cannot read a message of the schema {fingerprint}: it is too old for it, or the message is broken"
    )]
    Unresolvable {
        /// The writer's schema.
        fingerprint: Fingerprint,
        /// The error of apache-avro. It contains schema names and may contain values, so it is not displayed.
        source: Box<apache_avro::Error>,
    },
    /// The bytes are not an event at all.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Schemas of other releases, by fingerprint, as read from the compacted `schemas` topic.
pub struct SchemaCache {
    published: HashMap<Fingerprint, Known>,
    own: HashMap<&'static str, Known>,
}

/// A schema, and the fields of all its records as `Record.field`.
struct Known {
    schema: Schema,
    fields: BTreeSet<String>,
}

impl SchemaCache {
    /// Creates a cache that has the schemas of this release and no published ones.
    ///
    /// # Errors
    /// [`SchemaError`] when a compiled-in schema does not parse.
    pub fn new() -> Result<Self, SchemaError> {
        let own = own_schemas()?.into_iter().map(|own| match strict(own.text) {
            Ok(known) => Ok((own.name, known)),
            Err(source) => Err(SchemaError { name: own.name, source: Box::new(source) }),
        });
        Ok(Self { published: HashMap::new(), own: own.collect::<Result<_, SchemaError>>()? })
    }

    /// Adds a published schema text under its fingerprint.
    ///
    /// # Errors
    /// [`WriterSchemaError::Unusable`] when the text is not an Avro schema or `key` is not its fingerprint. The fingerprint that
    /// apache-avro computes is accepted too, because earlier builds published their schemas under it.
    pub fn add(&mut self, key: Fingerprint, text: &str) -> Result<(), WriterSchemaError> {
        let unusable = |_| WriterSchemaError::Unusable(key);
        let schema = Schema::parse_str(text).map_err(unusable)?;
        if key != Fingerprint::of(text).map_err(unusable)? && key != Fingerprint::as_apache_avro(&schema) {
            return Err(WriterSchemaError::Unusable(key));
        }
        let fields = fields(text).map_err(unusable)?;
        self.published.insert(key, Known { schema, fields });
        Ok(())
    }

    /// Returns whether a published schema with this fingerprint was added.
    #[must_use]
    pub fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.published.contains_key(&fingerprint)
    }

    /// Decodes a message of any known schema.
    ///
    /// # Errors
    /// [`WriterSchemaError::Unknown`] until the schema is published; the other errors until a release that can read the message.
    pub fn decode<E: Event>(&self, message: &[u8]) -> Result<E, WriterSchemaError> {
        let fingerprint = match decode(message) {
            Ok(event) => return Ok(event),
            Err(ReadError::OtherSchema(fingerprint)) => fingerprint,
            Err(error @ (ReadError::NotSingleObject | ReadError::Datum(_))) => return Err(error.into()),
        };
        let writer = self.published.get(&fingerprint).ok_or(WriterSchemaError::Unknown(fingerprint))?;
        let own = self.own.get(E::NAME).ok_or(WriterSchemaError::Unusable(E::FINGERPRINT))?;
        let (_, mut datum) = fingerprint_of(message)?;
        let unresolvable = |source| WriterSchemaError::Unresolvable { fingerprint, source: Box::new(source) };
        if let Some(field) = writer.fields.difference(&own.fields).next() {
            return Err(WriterSchemaError::TooOld { fingerprint, field: field.clone() });
        }
        let value = from_avro_datum(&writer.schema, &mut datum, Some(&own.schema)).map_err(unresolvable)?;
        let resolved = to_avro_datum(&own.schema, value).map_err(unresolvable)?;
        Ok(read_datum(&resolved).map_err(ReadError::from)?)
    }
}

/// Parses a schema without the defaults of its enums. With them, apache-avro would replace a symbol that this release does not
/// know with the default, which would then be stored for ever.
fn strict(text: &str) -> Result<Known, apache_avro::Error> {
    let is_enum = |object: &serde_json::Map<String, Value>| object.get("type").is_some_and(|kind| kind == "enum");
    let schema = Schema::parse(&without(text, |name, object| name == "default" && is_enum(object))?)?;
    Ok(Known { schema, fields: fields(text)? })
}

/// Returns the fields of all records in a schema. No field is ever removed from our schemas, so a field that they lack is newer
/// than this release.
fn fields(text: &str) -> Result<BTreeSet<String>, apache_avro::Error> {
    let mut found = BTreeSet::new();
    collect(&without(text, |_, _| false)?, &mut found);
    Ok(found)
}

fn collect(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            let name = |value: &Value| value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let record = name(schema).rsplit('.').next().unwrap_or_default().to_owned();
            let fields = object.get("fields").and_then(Value::as_array).into_iter().flatten();
            found.extend(fields.map(|field| format!("{record}.{}", name(field))));
            object.values().for_each(|member| collect(member, found));
        }
        Value::Array(branches) => branches.iter().for_each(|branch| collect(branch, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
