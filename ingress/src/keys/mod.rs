//! API keys: what each key permits and how long it is valid, and the file in which the keys are stored.

mod file;
mod manage;
mod ring;

pub use file::{KeyEntry, KeysError, Scope};
pub use manage::{KeySummary, NewKey, Secret, create, list, revoke};
pub use ring::{Credential, InvalidKey, KeyRing};
