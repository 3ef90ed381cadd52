//! The metric catalogue: what can be measured, how each source spells it, and how its units convert, as data.
//!
//! `metrics.toml` and `units.toml` are compiled in and parsed once. A test checks that they are valid, and programs call [`check`]
//! at start. The spellings of metrics are matched without regard to ASCII case.

mod catalogue;
pub mod decimal;
mod file;
mod index;
mod load;
mod lookup;
mod metric;
mod system;
mod unit;

#[doc(hidden)]
pub use catalogue::Catalogue;
pub use load::CatalogueError;
pub use lookup::{check, metric_by_code, metric_by_key, metric_by_spelling, metrics, ucum_of, ucum_of_apple, units};
pub use metric::{Accepted, CodeUnit, CodedValue, Measured, Metric, Range, UnitError, ValueKind};
pub use system::{HEALTHKIT, LOINC, MDC, MEDISANTE, SNOMED, SYSTEMS, UCUM, Vocabulary};
pub use unit::Unit;
