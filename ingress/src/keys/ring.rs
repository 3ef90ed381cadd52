//! The valid keys in memory, reloaded when the file changes.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use schemas::{
    event::SourceName,
    format::{Defaults, Provider},
};
use service::health::StageHealth;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::file::{self, KeyEntry, KeysError, Scope, fingerprint};

const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// The credential of a sender: a key of the file, without the secret.
pub struct Credential {
    /// The key's id.
    pub id: String,
    /// The sender's stable name.
    pub source: SourceName,
    /// The library whose documented default units apply to the key's HealthKit payloads, unless the request has a parameter
    /// `defaults`.
    pub defaults: Option<Defaults>,
    sha256: [u8; 32],
    scopes: Vec<Scope>,
    providers: Option<Vec<Provider>>,
    not_before: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
}

/// Why a key is refused. The client receives the same response in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidKey {
    /// No key has this secret.
    Unknown,
    /// The key is not valid yet.
    NotYet,
    /// The key is no longer valid.
    Expired,
}

impl Credential {
    /// Returns whether the key permits `scope` and, if given, `provider`.
    #[must_use]
    pub fn may(&self, scope: Scope, provider: Option<Provider>) -> bool {
        let for_provider = match (&self.providers, provider) {
            (None, _) => true,
            // An empty list permits no provider. It must not be mistaken for a missing list, which permits all.
            (Some(allowed), None) => !allowed.is_empty(),
            (Some(allowed), Some(provider)) => allowed.contains(&provider),
        };
        self.scopes.contains(&scope) && for_provider
    }

    /// Returns the providers that the key is restricted to; empty if it is not restricted.
    #[must_use]
    pub fn providers(&self) -> &[Provider] {
        self.providers.as_deref().unwrap_or_default()
    }

    fn from_entry(entry: KeyEntry) -> Option<Self> {
        Some(Self {
            source: SourceName::parse(&entry.source).ok()?,
            sha256: file::hash(&entry.sha256)?,
            providers: entry.providers.map(|names| names.iter().filter_map(|name| Provider::parse(name)).collect()),
            defaults: entry.defaults.as_deref().and_then(Defaults::parse),
            id: entry.id,
            scopes: entry.scopes,
            not_before: entry.not_before,
            expires_at: entry.expires_at,
        })
    }
}

/// Identifies a version of the file without reading the file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    length: u64,
    inode: u64,
}

/// All keys of the file, shared by all requests.
pub struct KeyRing {
    path: PathBuf,
    keys: ArcSwap<Vec<Arc<Credential>>>,
    stamp: Mutex<Option<Stamp>>,
}

impl KeyRing {
    /// Loads the file.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn open(path: &Path) -> Result<Self, KeysError> {
        let stamp = stamp(path);
        let keys = load(path)?;
        Ok(Self { path: path.to_owned(), keys: ArcSwap::from_pointee(keys), stamp: Mutex::new(stamp) })
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.load().len()
    }

    /// Returns the key with this secret. Takes the same time whichever key matches, and if none does.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn authenticate(&self, secret: &[u8], now: OffsetDateTime) -> Result<Arc<Credential>, InvalidKey> {
        let keys = self.keys.load();
        let presented = fingerprint(secret);
        let mut found = u32::MAX;
        for (number, key) in (0_u32..).zip(keys.iter()) {
            let same: Choice = key.sha256.ct_eq(&presented);
            found.conditional_assign(&number, same);
        }
        let key = usize::try_from(found).ok().and_then(|index| keys.get(index)).ok_or(InvalidKey::Unknown)?;
        if key.not_before.is_some_and(|from| now < from) {
            return Err(InvalidKey::NotYet);
        }
        if key.expires_at.is_some_and(|until| now >= until) {
            return Err(InvalidKey::Expired);
        }
        Ok(Arc::clone(key))
    }

    /// Reloads the file if it has changed. If the file is invalid, the previously loaded keys stay in use.
    ///
    /// # Errors
    /// [`KeysError`]. An error is returned only once for each version of the file.
    pub fn refresh(&self) -> Result<Refreshed, KeysError> {
        let now = stamp(&self.path);
        {
            let mut known = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
            if *known == now {
                return Ok(Refreshed::Unchanged);
            }
            *known = now;
        }
        self.keys.store(Arc::new(load(&self.path)?));
        Ok(Refreshed::Changed)
    }

    /// Checks the file every second until `shutdown`, and reports the result on `/ready` and in the log.
    pub async fn watch(self: Arc<Self>, health: StageHealth, shutdown: CancellationToken) {
        health.detail("keys", &format!("{} loaded", self.count()));
        while shutdown.run_until_cancelled(tokio::time::sleep(REFRESH_EVERY)).await.is_some() {
            let ring = Arc::clone(&self);
            let Ok(refreshed) = tokio::task::spawn_blocking(move || ring.refresh()).await else { continue };
            match refreshed {
                Ok(Refreshed::Unchanged) => {}
                Ok(Refreshed::Changed) => {
                    health.detail("keys", &format!("{} loaded", self.count()));
                    tracing::info!(keys = self.count(), "the keys file has been reloaded");
                }
                Err(error) => {
                    health.detail("keys", "the keys file cannot be used: the previously loaded keys stay in use");
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the keys file cannot be used: the previously loaded keys stay in use"
                    );
                }
            }
        }
    }
}

/// The result of [`KeyRing::refresh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// The file has not changed.
    Unchanged,
    /// The keys have been reloaded.
    Changed,
}

fn load(path: &Path) -> Result<Vec<Arc<Credential>>, KeysError> {
    Ok(file::read(path)?.keys.into_iter().filter_map(Credential::from_entry).map(Arc::new).collect())
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: (found.mtime(), found.mtime_nsec()), length: found.len(), inode: found.ino() })
}
