//! The events that the normalizer writes and the sink reads: one Avro record in each file of `schemas/avro`.
//!
//! The Rust types mirror the `.avsc` files field by field and in the same order; a test encodes each with both this
//! crate's codec and apache-avro and compares the bytes. None implements `Debug` or `Display`, because they contain health data.

mod assignment;
mod document;
mod flag;
mod names;
mod outcome;
mod reading;
mod unknown;

pub use assignment::{Assignment, Command};
pub use document::Document;
pub use flag::Flag;
pub use names::{DeviceId, NameError, PatientId, SourceName};
pub use outcome::Outcome;
pub use reading::{
    Coded, Coding, Component, Device, DocumentReference, Missing, Provenance, Quantity, Reading, Status, Text, Value,
    Waveform,
};
pub use unknown::{Unknown, UnknownKind};

pub use crate::moment::Precision;
