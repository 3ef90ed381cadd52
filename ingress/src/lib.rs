//! The HTTP edge of Device Manager.
//!
//! A request's path: [`keys`] say who sends, admission decides by its head whether it may, the body is read under caps of
//! size and time, [`wellformed`] looks through it once without understanding it, [`raw_log`] keeps it byte for byte, and
//! only when Kafka has acknowledged it is the request answered with 2xx. A malformed body goes the same way, and is
//! answered 400 with its receipt.
//!
//! Deliberately absent: any knowledge of what a payload means, any state but the keys, any queue of its own.

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
mod upload;
pub mod wellformed;

pub use app::app;
pub use config::{IngressArgs, IngressConfig};
pub use endpoint::openapi::openapi_json;
pub use error::IngressError;
pub use run::{check, listen, run};
pub use state::{AppState, SecretKeys};
