//! Encodes and decodes events as Avro: by a hand-written datum codec for the schemas of this release, with apache-avro for others.
//!
//! A writer always uses the schema that is compiled in. The layout of the datum is therefore known, and [`Datum`] writes it
//! directly into a buffer. A reader that finds its own fingerprint reads the datum directly as well. A reader that finds another
//! fingerprint (an older or newer release wrote the event) resolves the writer's schema to its own with apache-avro, encodes the
//! result again and reads that with [`Datum`]. So there is one mapping between Rust and Avro, not two.

mod datum;
mod declare;
mod own;
mod resolve;
mod schema;
mod single_object;

pub use datum::{Datum, DecodeError, Element, Input};
pub(crate) use declare::{avro_enum, avro_record, avro_union};
pub use own::own_schemas;
pub use resolve::{SchemaCache, WriterSchemaError};
pub use schema::{Event, EventSchema, Fingerprint, SchemaError};
pub use single_object::{ReadError, decode, encode, fingerprint_of};
