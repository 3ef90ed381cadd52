//! Raw records into events.
//!
//! [`normalize`] is a pure function: the same record gives the same events today and in ten years, but for a raised
//! [`MAPPING_VERSION`]. It has no clock and no I/O and does not panic. Around it stands the loop of [`run`]: consume,
//! normalize, produce, commit last.
//!
//! One foreign format, one folder: `wire` is the foreign shape, `map` turns it into our event, and nothing outside knows
//! either. `registry` lists the formats; nothing else names one.

mod apple;
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
mod withheld;
mod xml;

pub use json_lines::json_lines;
pub use normalized::{MAPPING_VERSION, Normalized, Rejection};
pub use pipeline::{BatchLimits, NormalizerConfig, NormalizerError, Skip, SkippedRecord, group_of, mapped_until, run};
pub use registry::normalize;
