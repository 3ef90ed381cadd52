//! Ports and passwords, generated once and stored in the data directory.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rand::distr::Alphanumeric;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::error::{EmbeddedError, io};
use crate::port;

/// The values that must survive a restart, so that clients find the services at the same addresses. Contains secrets: no
/// `Debug`.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    pub(super) kafka_cluster_id: String,
    pub(super) kafka_port: u16,
    pub(super) kafka_controller_port: u16,
    pub(super) postgres_port: u16,
    pub(super) postgres_superuser_password: String,
    pub(super) postgres_password: String,
}

const FILE: &str = "embedded.json";

impl State {
    pub(super) fn load_or_generate(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let path = data_dir.join(FILE);
        match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|source| EmbeddedError::State { path, source }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::generate()),
            Err(error) => Err(io("read", &path)(error)),
        }
    }

    fn generate() -> Self {
        Self {
            kafka_cluster_id: random_text(22),
            kafka_port: port::pick(),
            kafka_controller_port: port::pick(),
            postgres_port: port::pick(),
            postgres_superuser_password: random_text(32),
            postgres_password: random_text(32),
        }
    }

    /// Writes the state to a temporary file and renames it, so that a crash leaves either the old state or the new one.
    pub(super) fn save(&self, data_dir: &Path) -> Result<(), EmbeddedError> {
        let path = data_dir.join(FILE);
        let part = data_dir.join("embedded.json.part");
        let json =
            serde_json::to_vec_pretty(self).map_err(|source| EmbeddedError::State { path: path.clone(), source })?;
        File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)
            .and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_all()))
            .map_err(io("write", &part))?;
        std::fs::rename(&part, &path).map_err(io("write", &path))
    }
}

/// Returns a random text of letters and digits only, because it is used in URLs, in SQL and in a properties file.
fn random_text(length: usize) -> String {
    StdRng::from_os_rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}
