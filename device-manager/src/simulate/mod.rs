//! Realistic synthetic traffic over HTTP, as the Medisanté portal or the back end of an iPhone app would send it.
//!
//! A run is reproducible: the same seed, clock and count produce the same requests. Each request is sent until it is
//! accepted or refused permanently. Like a real sender, the simulator repeats a request that was answered 503 or not at
//! all.

mod payload;
mod send;

pub use payload::{Kind, Request, device_ids, request};
pub use send::{Accepted, Plan, SimulateError, Summary, run};
