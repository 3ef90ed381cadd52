//! Payloads that no one in this project wrote: what comes of each. They lie beside the repository where there are any
//! (`../shared/samples` from the workspace's root) and are never copied into it; without them the tests say so.

mod fhir;
mod files;
#[path = "../../../../catalogue/tests/unit/samples.rs"]
mod folder;
mod health_auto_export;
mod healthkit;
mod medisante;
mod table;
