//! The metric catalogue: what can be measured, how each source spells it, and how its units convert, as data.
//!
//! `metrics.toml` and `units.toml` are compiled in and parsed once. A test checks that they are valid, and programs call [`check`]
//! at start. The spellings of metrics are matched without regard to ASCII case.
//!
//! An operator can add to the built-in catalogue with a catalogue file ([`Extension`]). A process uses one catalogue from its start
//! to its end: a program [installs](install) the extension before the first lookup, and lookups need no lock.

mod catalogue;
pub mod decimal;
mod extension;
mod file;
mod index;
mod load;
mod lookup;
mod metric;
mod system;
mod unit;

#[doc(hidden)]
pub use catalogue::Catalogue;
pub use extension::{Addition, CATALOGUE_FILE_BYTES_MAX, CatalogueFile, Extension, ExtensionError, ExtensionErrors};
pub use load::CatalogueError;
pub use lookup::{
    InUseAlready, check, file, install, metric_by_code, metric_by_key, metric_by_spelling, metrics, revision, ucum_of,
    ucum_of_apple, units,
};
pub use metric::{Accepted, CodeUnit, CodedValue, Measured, Metric, Range, UnitError, ValueKind};
pub use system::{HEALTHKIT, LOINC, MDC, MEDISANTE, SNOMED, SYSTEMS, UCUM, Vocabulary};
pub use unit::Unit;
