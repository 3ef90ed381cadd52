//! Payloads that nobody in this project wrote, and what each becomes. They are in a folder beside the repository
//! (`../shared/samples` from the root of the workspace) and are never copied into it. Without that folder, the tests report
//! that it is missing.

mod fhir;
mod files;
#[path = "../../../../catalogue/tests/unit/samples.rs"]
mod folder;
mod health_auto_export;
mod healthkit;
mod medisante;
mod table;
