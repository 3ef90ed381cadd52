//! API keys: what may be sent with which key, until when, and how the file that says so is kept.

mod file;
mod manage;
mod ring;

pub use file::{KeyEntry, KeysError, Scope};
pub use manage::{KeySummary, NewKey, Secret, create, list, revoke};
pub use ring::{Credential, KeyRing, Refused};
