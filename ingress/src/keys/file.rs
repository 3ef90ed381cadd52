//! The keys file: one JSON object, read and checked as a whole, and replaced atomically.

use std::{
    collections::HashSet,
    io::Write,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use hex::FromHex as _;
use schemas::{
    event::SourceName,
    format::{Defaults, Provider},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// What a key permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Sending payloads.
    #[serde(rename = "health-data:write")]
    HealthDataWrite,
    /// Assigning and unassigning devices.
    #[serde(rename = "devices:write")]
    DevicesWrite,
}

impl Scope {
    /// Returns the name used in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HealthDataWrite => "health-data:write",
            Self::DevicesWrite => "devices:write",
        }
    }

    /// Parses the name used in the file.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "health-data:write" => Some(Self::HealthDataWrite),
            "devices:write" => Some(Self::DevicesWrite),
            _ => None,
        }
    }
}

/// A key in the file. Contains the hash of the secret, not the secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Identifies the key in raw records and for `keys revoke`.
    pub id: String,
    /// The sender's stable name. Keys that replace each other share it, so that readings keep their identity.
    pub source: String,
    /// SHA-256 of the secret, 64 hexadecimal digits.
    pub sha256: String,
    /// What the key permits.
    pub scopes: Vec<Scope>,
    /// The providers that the key may send for. If absent, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<String>>,
    /// The library whose documented default units apply to the key's HealthKit payloads, unless the request has a parameter
    /// `defaults`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<String>,
    /// When the key becomes valid.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// When the key expires.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysFile {
    pub(super) keys: Vec<KeyEntry>,
}

/// Why the keys file cannot be used. Shows nothing of the file's content except a key's id.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("the keys file {path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is not JSON of the required form.
    #[error("the keys file {path} is invalid at line {line}; `device-manager keys create` writes a valid one")]
    Form {
        /// The file.
        path: PathBuf,
        /// The line of the error.
        line: usize,
    },
    /// A key in the file violates a rule.
    #[error("the key {id} in the keys file is invalid: {rule}")]
    Key {
        /// The id of the key.
        id: String,
        /// The member and the rule that it violates.
        rule: String,
    },
    /// A new key violates a rule.
    #[error("{argument} {rule}")]
    Argument {
        /// The argument of `device-manager keys create`.
        argument: &'static str,
        /// The rule that it violates.
        rule: &'static str,
    },
    /// The key does not exist.
    #[error("there is no key {id}; `device-manager keys list` lists all keys")]
    Unknown {
        /// The requested id.
        id: String,
    },
}

impl KeysError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    fn key(entry: &KeyEntry, rule: String) -> Self {
        Self::Key { id: entry.id.chars().take(64).filter(|char| !char.is_control()).collect(), rule }
    }
}

/// Reads and checks the file.
pub(super) fn read(path: &Path) -> Result<KeysFile, KeysError> {
    let bytes = std::fs::read(path).map_err(KeysError::io(path))?;
    let file: KeysFile = serde_json::from_slice(&bytes)
        .map_err(|error| KeysError::Form { path: path.to_owned(), line: error.line() })?;
    check(&file)?;
    Ok(file)
}

/// Replaces the file atomically: a reader sees either the old or the new file, even after a power failure.
pub(super) fn write(path: &Path, file: &KeysFile) -> Result<(), KeysError> {
    check(file)?;
    let text = serde_json::to_vec_pretty(file).map_err(|error| KeysError::io(path)(error.into()))?;
    // A symbolic link stays, and the file that it names is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        // `NamedTempFile` creates the file with mode 0600.
        let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
        temporary.write_all(&text)?;
        temporary.write_all(b"\n")?;
        temporary.as_file().sync_all()?;
        temporary.persist(&target).map_err(|error| error.error)?;
        std::fs::File::open(directory)?.sync_all()
    };
    write().map_err(KeysError::io(path))
}

fn check(file: &KeysFile) -> Result<(), KeysError> {
    let (mut ids, mut hashes) = (HashSet::new(), HashSet::new());
    for entry in &file.keys {
        if let Err((name, rule)) = check_entry(entry) {
            return Err(KeysError::key(entry, format!("{name} {rule}")));
        }
        if !ids.insert(entry.id.as_str()) {
            return Err(KeysError::key(entry, "another key has the same id".to_owned()));
        }
        if !hashes.insert(entry.sha256.to_ascii_lowercase()) {
            return Err(KeysError::key(entry, "another key has the same sha256".to_owned()));
        }
    }
    Ok(())
}

/// The rule for the names of providers.
static PROVIDERS: LazyLock<String> = LazyLock::new(|| format!("must be {}", Provider::names_text()));

/// Checks a key on its own. The error is the name of the member and the rule that it violates.
pub(super) fn check_entry(entry: &KeyEntry) -> Result<(), (&'static str, &'static str)> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if entry.id.is_empty() || entry.id.len() > 64 || !entry.id.bytes().all(is_word) {
        Err(("id", "must be 1 to 64 letters, digits, '-', '_' or '.'"))
    } else if SourceName::parse(&entry.source).is_err() {
        Err(("source", "must be 1 to 256 bytes without control characters"))
    } else if hash(&entry.sha256).is_none() {
        Err(("sha256", "must be 64 hexadecimal digits"))
    } else if entry.scopes.is_empty() {
        Err(("scopes", "must name health-data:write or devices:write"))
    } else if entry.providers.iter().flatten().any(|name| Provider::parse(name).is_none()) {
        Err(("providers", PROVIDERS.as_str()))
    } else if entry.defaults.as_deref().is_some_and(|word| Defaults::parse(word).is_none()) {
        Err(("defaults", "must be react-native-health"))
    } else if entry.not_before.zip(entry.expires_at).is_some_and(|(from, until)| until <= from) {
        Err(("expires_at", "must be after not_before"))
    } else {
        Ok(())
    }
}

/// Returns the hash that is stored of a secret. An unsalted SHA-256 suffices, because the secret is 32 random bytes and not a
/// password.
pub(super) fn fingerprint(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Parses a stored hash.
pub(super) fn hash(text: &str) -> Option<[u8; 32]> {
    <[u8; 32]>::from_hex(text).ok()
}
