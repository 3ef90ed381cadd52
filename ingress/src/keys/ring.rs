//! The keys that hold now, read again when the file changes.

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

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A sender that showed a valid key.
pub struct Credential {
    /// The key's id.
    pub id: String,
    /// The sender's stable name.
    pub source: SourceName,
    /// Whose documented defaults hold for its HealthKit payloads where the request names none.
    pub defaults: Option<Defaults>,
    sha256: [u8; 32],
    scopes: Vec<Scope>,
    providers: Option<Vec<Provider>>,
    not_before: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
}

/// Why a key opens nothing. The client is told the same in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No key has this secret.
    Unknown,
    /// The key is not valid yet.
    NotYet,
    /// The key is no longer valid.
    Expired,
}

impl Credential {
    /// Whether the key is good for `scope`, and for `provider` where one is known.
    #[must_use]
    pub fn may(&self, scope: Scope, provider: Option<Provider>) -> bool {
        let for_provider = match (&self.providers, provider) {
            (None, _) => true,
            // A list without a provider allows none. It must not pass for no list, which allows all.
            (Some(allowed), None) => !allowed.is_empty(),
            (Some(allowed), Some(provider)) => allowed.contains(&provider),
        };
        self.scopes.contains(&scope) && for_provider
    }

    /// The providers that the key is bound to; empty where it is bound to none.
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

/// What tells one state of the file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    length: u64,
    inode: u64,
}

/// All keys of the file; shared by all requests.
pub struct KeyRing {
    path: PathBuf,
    keys: ArcSwap<Vec<Arc<Credential>>>,
    stamp: Mutex<Option<Stamp>>,
}

impl KeyRing {
    /// Reads the file.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn open(path: &Path) -> Result<Self, KeysError> {
        let stamp = stamp(path);
        let keys = load(path)?;
        Ok(Self { path: path.to_owned(), keys: ArcSwap::from_pointee(keys), stamp: Mutex::new(stamp) })
    }

    /// How many keys there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.load().len()
    }

    /// Finds the key that has this secret. Takes the same time whichever key matches, and if none does.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn authenticate(&self, secret: &[u8], now: OffsetDateTime) -> Result<Arc<Credential>, Refused> {
        let keys = self.keys.load();
        let shown = fingerprint(secret);
        let mut found = u32::MAX;
        for (number, key) in (0_u32..).zip(keys.iter()) {
            let same: Choice = key.sha256.ct_eq(&shown);
            found.conditional_assign(&number, same);
        }
        let key = usize::try_from(found).ok().and_then(|place| keys.get(place)).ok_or(Refused::Unknown)?;
        if key.not_before.is_some_and(|from| now < from) {
            return Err(Refused::NotYet);
        }
        if key.expires_at.is_some_and(|until| now >= until) {
            return Err(Refused::Expired);
        }
        Ok(Arc::clone(key))
    }

    /// Reads the file again if it has changed. A file that cannot be used changes nothing.
    ///
    /// # Errors
    /// [`KeysError`]; it is reported once for each state of the file.
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

    /// Looks at the file each second until `shutdown`, and says on `/ready` and in the log what came of it.
    pub async fn watch(self: Arc<Self>, health: StageHealth, shutdown: CancellationToken) {
        health.detail("keys", &format!("{} valid in form", self.count()));
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let ring = Arc::clone(&self);
            let Ok(refreshed) = tokio::task::spawn_blocking(move || ring.refresh()).await else { continue };
            match refreshed {
                Ok(Refreshed::Unchanged) => {}
                Ok(Refreshed::Changed) => {
                    health.detail("keys", &format!("{} valid in form", self.count()));
                    tracing::info!(keys = self.count(), "the keys file was read again");
                }
                Err(error) => {
                    health.detail("keys", "the keys file cannot be used: the keys that were read before still hold");
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the keys file cannot be used: the keys that were read before still hold"
                    );
                }
            }
        }
    }
}

/// What a look at the file came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// It is as it was.
    Unchanged,
    /// New keys hold.
    Changed,
}

fn load(path: &Path) -> Result<Vec<Arc<Credential>>, KeysError> {
    Ok(file::read(path)?.keys.into_iter().filter_map(Credential::from_entry).map(Arc::new).collect())
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: (found.mtime(), found.mtime_nsec()), length: found.len(), inode: found.ino() })
}
