//! The metrics and the units with their indexes.

use crate::{
    index::Index,
    metric::Metric,
    unit::{Unit, Units},
};

/// The content of the two files, with its indexes. Programs use the catalogue that is compiled in, through
/// [`metrics`](crate::metrics) and [`units`](crate::units); tests parse altered files.
#[doc(hidden)]
pub struct Catalogue {
    pub(crate) metrics: Vec<Metric>,
    pub(crate) units: Units,
    pub(crate) medisante: Index,
    pub(crate) healthkit: Index,
    pub(crate) health_auto_export: Index,
    pub(crate) codes: Vec<(&'static str, Index)>,
}

impl Catalogue {
    /// Returns all metrics, in the order of the file.
    #[must_use]
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// Returns all units, in the order of the file.
    #[must_use]
    pub fn units(&self) -> &[Unit] {
        &self.units.all
    }
}
