//! Avro bytes of the events: a hand-written datum codec for our own schemas, apache-avro for everybody else's.
//!
//! Writers always use the schema compiled in, so its datum layout is known and [`Datum`] writes it straight into a
//! buffer. A reader that meets its own fingerprint reads it straight back. A reader that meets another fingerprint
//! (an older or newer release wrote the event) resolves the writer's schema onto its own with apache-avro and then
//! reads the resolved bytes: one mapping between Rust and Avro, not two.

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
