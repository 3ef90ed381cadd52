//! Realistic synthetic traffic over HTTP, as the Medisanté portal or an iPhone app's back end would send it.
//!
//! A run is reproducible: the same seed, clock and count give the same requests. Each request is sent until it is
//! accepted or refused for good: like a real sender, the simulator repeats what was answered 503 or not at all.

mod payload;
mod send;

pub use payload::{Kind, Request, device_ids, request};
pub use send::{Accepted, Plan, SimulateError, Summary, run};
