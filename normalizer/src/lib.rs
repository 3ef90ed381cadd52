//! Normalizes raw records: turns each one into events.
//!
//! [`normalize`] is a pure function: the same record gives the same events in every release with the same
//! [`MAPPING_VERSION`] and the same catalogue file. It uses no clock, does no I/O and does not panic. [`run`] is the loop around it: consume, normalize,
//! produce, and commit last.
//!
//! Each foreign format has a folder: `wire` is the foreign shape, `map` turns it into our event, and no code outside the folder
//! uses either. `registry` lists the formats; no other module names one.

mod apple;
mod catch_panic;
mod devices;
mod drift;
mod export_xml;
mod fhir;
mod health_auto_export;
mod healthkit;
mod json;
mod json_lines;
mod medisante;
mod normalized;
mod observed;
mod pipeline;
pub mod pool;
mod redact;
mod refusal;
mod registry;
mod shape;
mod xml;

pub use json_lines::json_lines;
pub use normalized::{MAPPING_VERSION, Normalized, Rejection};
pub use pipeline::{
    BatchLimits, CatalogueConflict, MappedItem, NormalizerConfig, NormalizerError, RawMessage, Republished,
    Republisher, Skip, SkippedRecord, Totals, check_catalogue, epoch_of, group_of, map_again, mapped_until, run,
};
pub use registry::normalize;
