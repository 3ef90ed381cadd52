//! The keys file: one JSON object, read whole and checked, written whole and at once.

use std::{
    collections::HashSet,
    io::Write,
    path::{Path, PathBuf},
};

use hex::FromHex as _;
use schemas::{
    event::SourceName,
    format::{Defaults, Provider},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// What a key is good for.
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
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HealthDataWrite => "health-data:write",
            Self::DevicesWrite => "devices:write",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "health-data:write" => Some(Self::HealthDataWrite),
            "devices:write" => Some(Self::DevicesWrite),
            _ => None,
        }
    }
}

/// One key as it stands in the file: no secret, only its hash.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Names the key in raw records and for `keys revoke`.
    pub id: String,
    /// The sender's stable name. Keys that replace each other share it, so that readings keep their identity.
    pub source: String,
    /// SHA-256 of the secret, 64 hexadecimal digits.
    pub sha256: String,
    /// What the key is good for.
    pub scopes: Vec<Scope>,
    /// The providers it may send for; all where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<String>>,
    /// Whose documented defaults hold for its HealthKit payloads where the request names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<String>,
    /// From when it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// From when it is no longer valid.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysFile {
    pub(super) keys: Vec<KeyEntry>,
}

/// Why the keys file cannot be used. Never shows what stands in it beyond a key's id.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("the keys file {path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is not the JSON it must be.
    #[error("the keys file {path} is not valid at line {line}; `device-manager keys create` writes one")]
    Form {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
    },
    /// A key breaks a rule.
    #[error("the key {id} in the keys file cannot be used: {rule}")]
    Key {
        /// The key.
        id: String,
        /// The rule.
        rule: String,
    },
    /// A new key breaks a rule.
    #[error("{argument} {rule}")]
    Argument {
        /// The argument of `device-manager keys create`.
        argument: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// No such key.
    #[error("there is no key {id}; `device-manager keys list` shows them")]
    Unknown {
        /// The id that was asked for.
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

/// Writes the file so that a reader, and a power cut, sees the old one or the new one.
pub(super) fn write(path: &Path, file: &KeysFile) -> Result<(), KeysError> {
    check(file)?;
    let text = serde_json::to_vec_pretty(file).map_err(|error| KeysError::io(path)(error.into()))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        // Such a file is made with mode 0600.
        let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
        temporary.write_all(&text)?;
        temporary.write_all(b"\n")?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|error| error.error)?;
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

/// Checks one key by itself. The error is the member's name and the rule that it breaks.
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
        Err(("providers", "must be medisante or healthkit"))
    } else if entry.defaults.as_deref().is_some_and(|word| Defaults::parse(word).is_none()) {
        Err(("defaults", "must be react-native-health"))
    } else if entry.not_before.zip(entry.expires_at).is_some_and(|(from, until)| until <= from) {
        Err(("expires_at", "must be after not_before"))
    } else {
        Ok(())
    }
}

/// What is kept of a secret. A plain hash suffices: the secret is 32 random bytes, not a password.
pub(super) fn fingerprint(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Reads what is kept of a secret.
pub(super) fn hash(text: &str) -> Option<[u8; 32]> {
    <[u8; 32]>::from_hex(text).ok()
}
