//! The operations of `device-manager keys` on the keys file.

use std::path::Path;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use time::OffsetDateTime;

use super::file::{self, KeyEntry, KeysError, KeysFile, Scope, fingerprint};

/// The properties of a new key.
#[derive(Clone)]
pub struct NewKey {
    /// The key's id. If `None`, a random one is generated.
    pub id: Option<String>,
    /// The sender's stable name.
    pub source: String,
    /// What the key permits.
    pub scopes: Vec<Scope>,
    /// The providers that the key may send for; `None` means all.
    pub providers: Option<Vec<String>>,
    /// The library whose documented default units apply to the key's HealthKit payloads.
    pub defaults: Option<String>,
    /// When the key becomes valid.
    pub not_before: Option<OffsetDateTime>,
    /// When the key expires.
    pub expires_at: Option<OffsetDateTime>,
}

/// The secret of a new key. Has no `Debug` and no `Display`, so that it is shown only by an explicit call of
/// [`Secret::reveal`].
pub struct Secret(String);

impl Secret {
    /// Returns the secret, to be shown once to the person who created the key.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A key as `keys list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// The id.
    pub id: String,
    /// The sender's stable name.
    pub source: String,
    /// What the key permits.
    pub scopes: Vec<Scope>,
    /// The providers that the key may send for; `None` means all.
    pub providers: Option<Vec<String>>,
    /// The library whose documented default units apply to the key's HealthKit payloads.
    pub defaults: Option<String>,
    /// When the key becomes valid.
    pub not_before: Option<OffsetDateTime>,
    /// When the key expires.
    pub expires_at: Option<OffsetDateTime>,
}

/// Adds a key to the file and returns the key's id and its secret. Creates the file if it does not exist.
///
/// # Errors
/// [`KeysError::Argument`] if the new key violates a rule; otherwise the same as for [`list`].
pub fn create(path: &Path, new: NewKey) -> Result<(String, Secret), KeysError> {
    let mut file = if path.exists() { file::read(path)? } else { KeysFile::default() };
    let secret = Secret(format!("dm_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())));
    let id = new.id.unwrap_or_else(|| format!("key-{}", hex::encode(rand::random::<[u8; 4]>())));
    let entry = KeyEntry {
        id: id.clone(),
        source: new.source,
        sha256: hex::encode(fingerprint(secret.0.as_bytes())),
        scopes: new.scopes,
        providers: new.providers,
        defaults: new.defaults,
        not_before: new.not_before,
        expires_at: new.expires_at,
    };
    file::check_entry(&entry).map_err(|(member, rule)| KeysError::Argument { argument: argument(member), rule })?;
    if file.keys.iter().any(|known| known.id == id) {
        return Err(KeysError::Argument { argument: argument("id"), rule: "is the id of a key that exists already" });
    }
    file.keys.push(entry);
    file::write(path, &file)?;
    Ok((id, secret))
}

/// Returns the argument of `keys create` that sets a member of the file.
fn argument(member: &'static str) -> &'static str {
    match member {
        "id" => "--id",
        "source" => "--source",
        "scopes" => "--scope",
        "providers" => "--provider",
        "defaults" => "--defaults",
        "expires_at" => "--expires-at",
        other => other,
    }
}

/// Returns the keys in the file, in their order.
///
/// # Errors
/// [`KeysError`].
pub fn list(path: &Path) -> Result<Vec<KeySummary>, KeysError> {
    let summary = |entry: KeyEntry| KeySummary {
        id: entry.id,
        source: entry.source,
        scopes: entry.scopes,
        providers: entry.providers,
        defaults: entry.defaults,
        not_before: entry.not_before,
        expires_at: entry.expires_at,
    };
    Ok(file::read(path)?.keys.into_iter().map(summary).collect())
}

/// Removes a key from the file. A running ingress refuses the key within two seconds.
///
/// # Errors
/// [`KeysError::Unknown`] if the key does not exist; otherwise the same as for [`list`].
pub fn revoke(path: &Path, id: &str) -> Result<(), KeysError> {
    let mut file = file::read(path)?;
    let before = file.keys.len();
    file.keys.retain(|entry| entry.id != id);
    if file.keys.len() == before {
        return Err(KeysError::Unknown { id: id.to_owned() });
    }
    file::write(path, &file)
}
