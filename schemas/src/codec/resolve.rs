//! Reading what another release wrote.

use std::collections::HashMap;

use apache_avro::{Schema, from_avro_datum, to_avro_datum};

use super::{
    Event, Fingerprint, ReadError, fingerprint_of,
    schema::{SchemaError, own_schemas, without},
    single_object::read_datum,
};

/// Why a message could not be read. None is a reason for a dead letter: the reader may be too old, and waits.
#[derive(Debug, thiserror::Error)]
pub enum WriterSchemaError {
    /// The fingerprint is not in the cache: read on in the `schemas` topic, then wait.
    #[error("the schema {0} is not known yet")]
    Unknown(Fingerprint),
    /// The text published under the fingerprint is not an Avro schema or has another fingerprint.
    #[error("the published schema {0} is not usable")]
    Unusable(Fingerprint),
    /// The writer's schema and ours do not resolve, a value such as an enum's symbol is unknown to ours, or the datum is broken.
    #[error(
        "this release cannot read a message of the schema {fingerprint}: it is too old for it, or the message is broken"
    )]
    Unresolvable {
        /// The writer's schema.
        fingerprint: Fingerprint,
        /// What apache-avro said; holds schema names, and may hold values, so it is not displayed.
        source: Box<apache_avro::Error>,
    },
    /// The bytes are not an event at all.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Schemas of other releases, by fingerprint, as read from the compacted `schemas` topic.
pub struct SchemaCache {
    published: HashMap<Fingerprint, Schema>,
    own: HashMap<&'static str, Schema>,
}

impl SchemaCache {
    /// An empty cache beside this release's own schemas.
    ///
    /// # Errors
    /// [`SchemaError`] when a compiled-in schema does not parse.
    pub fn new() -> Result<Self, SchemaError> {
        let own = own_schemas()?.into_iter().map(|own| match strict(own.text) {
            Ok(schema) => Ok((own.name, schema)),
            Err(source) => Err(SchemaError { name: own.name, source: Box::new(source) }),
        });
        Ok(Self { published: HashMap::new(), own: own.collect::<Result<_, SchemaError>>()? })
    }

    /// Adds a published schema text and returns its fingerprint.
    ///
    /// # Errors
    /// [`WriterSchemaError::Unusable`] when the text is no Avro schema or has another fingerprint than its key says. The one that
    /// apache-avro computes is taken too: earlier builds published their schemas under it.
    pub fn add(&mut self, key: Fingerprint, text: &str) -> Result<(), WriterSchemaError> {
        let unusable = |_| WriterSchemaError::Unusable(key);
        let schema = Schema::parse_str(text).map_err(unusable)?;
        if key != Fingerprint::of(text).map_err(unusable)? && key != Fingerprint::as_apache_avro(&schema) {
            return Err(WriterSchemaError::Unusable(key));
        }
        self.published.insert(key, schema);
        Ok(())
    }

    /// Whether the fingerprint can be resolved.
    #[must_use]
    pub fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.published.contains_key(&fingerprint)
    }

    /// Decodes a message of any known schema.
    ///
    /// # Errors
    /// [`WriterSchemaError`]: `Unknown` until its schema is published, all others until a release comes that can read it.
    pub fn decode<E: Event>(&self, message: &[u8]) -> Result<E, WriterSchemaError> {
        let fingerprint = match super::decode(message) {
            Ok(event) => return Ok(event),
            Err(ReadError::OtherSchema(fingerprint)) => fingerprint,
            Err(error @ (ReadError::NotSingleObject | ReadError::Datum(_))) => return Err(error.into()),
        };
        let writer = self.published.get(&fingerprint).ok_or(WriterSchemaError::Unknown(fingerprint))?;
        let own = self.own.get(E::NAME).ok_or(WriterSchemaError::Unusable(E::FINGERPRINT))?;
        let (_, mut datum) = fingerprint_of(message)?;
        let unresolvable = |source| WriterSchemaError::Unresolvable { fingerprint, source: Box::new(source) };
        let value = from_avro_datum(writer, &mut datum, Some(own)).map_err(unresolvable)?;
        let resolved = to_avro_datum(own, value).map_err(unresolvable)?;
        Ok(read_datum(&resolved).map_err(ReadError::from)?)
    }
}

/// A schema without the defaults of its enums: they would turn what this release does not know into a value that it knows, and
/// that is then stored for ever.
fn strict(text: &str) -> Result<Schema, apache_avro::Error> {
    let is_enum =
        |object: &serde_json::Map<String, serde_json::Value>| object.get("type").is_some_and(|kind| kind == "enum");
    Schema::parse(&without(text, |name, object| name == "default" && is_enum(object))?)
}
