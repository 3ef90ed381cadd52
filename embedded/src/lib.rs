//! A real single-node Apache Kafka and a real Postgres as child processes in one data directory.
//!
//! It is what `device-manager up` runs on when no Kafka and no Postgres are given, and what the end-to-end tests run on.
//!
//! - Ports and passwords are drawn once and kept in the data directory, so `DATABASE_URL` survives a restart.
//! - One process at a time owns a data directory (a file lock, which the kernel lets go when that process dies).
//! - The children end with this process, whatever ends it: see `child`.
//! - "Ready" means that a metadata request and a `SELECT 1` were answered.

mod child;
mod error;
mod kafka;
mod port;
mod postgres;
mod state;
mod unprivileged;

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

pub use error::EmbeddedError;
use kafka::Kafka;
use postgres::Postgres;
use state::State;

/// A data directory that is this process's until the value is dropped, or the process dies.
pub struct DataDir {
    path: PathBuf,
    /// Held, never read: the kernel lets the lock go with it.
    _lock: File,
}

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct EmbeddedConfig {
    /// Whether Kafka is wanted.
    pub kafka: bool,
    /// Whether Postgres is wanted.
    pub postgres: bool,
    /// Directory with Kafka's jars (or a Kafka distribution, with its `libs`). Looked for when not given.
    pub kafka_home: Option<PathBuf>,
}

/// The running children. Dropping it ends them too, but without waiting: prefer [`Embedded::stop`].
pub struct Embedded {
    kafka: Option<Kafka>,
    postgres: Option<Postgres>,
    _data_dir: DataDir,
}

impl DataDir {
    /// Takes the directory, which is made when missing. Data, logs, ports and passwords are kept there, so nobody but its owner
    /// can look into it.
    ///
    /// # Errors
    /// Another process has it, or it cannot be made or closed to others.
    pub fn take(path: &Path) -> Result<Self, EmbeddedError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(error::io("make", path))?;
        let path = path.canonicalize().map_err(error::io("find", path))?;
        unprivileged::close(&path)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is, as an absolute path without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Embedded {
    /// Starts what is wanted, both at the same time, and returns when it answers requests.
    ///
    /// # Errors
    /// When Java, Kafka's jars or Postgres are missing (the message says how to get them), or when a child does not come up
    /// in time (the message names its log).
    pub async fn start(data_dir: DataDir, config: EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let path = data_dir.path();
        // Before ports are looked at: a child of a killed run may still hold them for a moment.
        tokio::join!(
            child::wait_for_leftover(kafka::pid_file(path)),
            child::wait_for_leftover(postgres::pid_file(path)),
        );
        let mut state = State::load_or_draw(path)?;
        let kafka = config.kafka.then(|| Kafka::prepare(path, config.kafka_home.as_deref(), &mut state));
        let kafka = kafka.transpose()?;
        let postgres = config.postgres.then(|| Postgres::prepare(path, &mut state)).transpose()?;
        state.save(path)?;

        let start_kafka = async { if let Some(kafka) = &kafka { kafka.start().await } else { Ok(()) } };
        let start_postgres = async { if let Some(postgres) = &postgres { postgres.start().await } else { Ok(()) } };
        tokio::try_join!(start_kafka, start_postgres)?;
        Ok(Self { kafka, postgres, _data_dir: data_dir })
    }

    /// `host:port` of the Kafka that was started, `None` when none was wanted. Stays the same over `stop_kafka` and `start_kafka`.
    #[must_use]
    pub fn kafka_bootstrap(&self) -> Option<&str> {
        self.kafka.as_ref().map(Kafka::bootstrap)
    }

    /// URL of a database whose owner may also create further databases, `None` when no Postgres was wanted.
    #[must_use]
    pub fn database_url(&self) -> Option<&str> {
        self.postgres.as_ref().map(Postgres::database_url)
    }

    /// Process id of the broker while it runs.
    #[must_use]
    pub fn kafka_pid(&self) -> Option<u32> {
        self.kafka.as_ref()?.child.pid()
    }

    /// Process id of the postmaster while it runs.
    #[must_use]
    pub fn postgres_pid(&self) -> Option<u32> {
        self.postgres.as_ref()?.child.pid()
    }

    /// Stops both in an orderly way; what does not end in time is killed.
    pub async fn stop(&self) {
        tokio::join!(self.stop_kafka(), self.stop_postgres());
    }

    /// Stops Kafka in an orderly way.
    pub async fn stop_kafka(&self) {
        if let Some(kafka) = &self.kafka {
            kafka.stop().await;
        }
    }

    /// Starts Kafka again, on the same port and data.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub async fn start_kafka(&self) -> Result<(), EmbeddedError> {
        if let Some(kafka) = &self.kafka { kafka.start().await } else { Ok(()) }
    }

    /// Stops Postgres in an orderly way, ending the sessions of its clients.
    pub async fn stop_postgres(&self) {
        if let Some(postgres) = &self.postgres {
            postgres.stop().await;
        }
    }

    /// Starts Postgres again, on the same port and data.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub async fn start_postgres(&self) -> Result<(), EmbeddedError> {
        if let Some(postgres) = &self.postgres { postgres.start().await } else { Ok(()) }
    }

    /// Freezes Kafka (`SIGSTOP`): its port stays open, nothing is answered.
    pub fn pause_kafka(&self) {
        self.kafka.iter().for_each(|kafka| kafka.child.pause());
    }

    /// Lets a paused Kafka go on.
    pub fn resume_kafka(&self) {
        self.kafka.iter().for_each(|kafka| kafka.child.resume());
    }

    /// Waits until a child has ended (without anyone having called `stop`, one hopes) and says which.
    pub async fn child_ended(&self) -> EmbeddedError {
        let kafka = async {
            if let Some(kafka) = &self.kafka { kafka.child.ended().await } else { std::future::pending().await }
        };
        let postgres = async {
            if let Some(postgres) = &self.postgres {
                postgres.child.ended().await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! { error = kafka => error, error = postgres => error }
    }
}

/// The lock file says who has the directory.
fn lock(data_dir: &Path) -> Result<File, EmbeddedError> {
    let path = data_dir.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(error::io("read", &path))?;
            return Err(EmbeddedError::InUse { data_dir: data_dir.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(error::io("lock", &path)(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(error::io("write", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(error::io("write", &path))?;
    Ok(file)
}
