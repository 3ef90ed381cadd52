//! API keys: what may be sent with which key, until when, and how the file that says so is kept.

mod file;
mod manage;
mod ring;

pub use file::{KeyEntry, KeysError, Scope};
pub use manage::{KeySummary, NewKey, Secret, create, list, revoke};
pub use ring::{Credential, KeyRing, Refused};

use sha2::{Digest, Sha256};

/// What is kept of a secret. A plain hash suffices: the secret is 32 random bytes, not a password.
pub(crate) fn fingerprint(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}
