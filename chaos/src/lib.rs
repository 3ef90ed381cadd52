//! Injects faults into a running installation under traffic, and proves that nothing is lost, doubled or unexplained.
//!
//! [`run`] carries out the [`plan`] of one seed: it starts an installation on [`servers`] of its own, sends seeded traffic over
//! HTTP, injects [`fault`]s, waits until fresh payloads pass again, and lets the oracle compare what was accepted with what is
//! stored. The oracle uses the normalizer's pure mapping, the fold of device commands and the order of versions, and nothing else
//! of the stages.

pub mod error;
pub mod fault;
mod installation;
mod oracle;
pub mod plan;
mod port;
mod process;
pub mod proxy;
mod recovery;
pub mod report;
mod run;
pub mod servers;
mod traffic;
mod wait;

pub use fault::target::Hit;
pub use installation::Build;
pub use oracle::compare::{Breach, Finding};
pub use process::Stage;
pub use run::{Settings, run};
