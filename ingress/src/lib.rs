//! The HTTP edge of Device Manager.
//!
//! The path of a request: [`keys`] authenticate the sender; admission checks the headers; the body is read within limits on
//! size and time; [`wellformed`] checks its syntax in one pass without interpreting it; [`raw_log`] stores it byte for byte.
//! The request is answered with 2xx only when Kafka has acknowledged the record. A malformed body is stored too, and answered
//! with 400 and its receipt.
//!
//! Deliberately absent: any knowledge of the meaning of a payload, any state except the keys, any queue of its own.

mod accept;
mod admission;
mod app;
pub mod config;
mod durability;
mod endpoint;
pub mod error;
pub mod keys;
mod parameters;
pub mod raw_log;
mod refusal;
mod request_context;
mod run;
mod state;
mod text_in_path;
mod upload;
pub mod wellformed;

pub use app::app;
pub use config::{IngressArgs, IngressConfig};
pub use endpoint::openapi::openapi_json;
pub use error::IngressError;
pub use run::{check, listen, run};
pub use state::{AppState, SecretKeys};
