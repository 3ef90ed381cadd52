//! A real single-node Apache Kafka and a real Postgres as child processes in one data directory.
//!
//! `device-manager up` uses them if no other Kafka and Postgres are configured, and so do the end-to-end tests.
//!
//! - Ports and passwords are generated once and stored in the data directory, so `DATABASE_URL` survives a restart.
//! - One process at a time owns a data directory, by a file lock that the kernel releases when the process ends.
//! - The children end with this process, however it ends: see `child`.
//! - "Ready" means that a metadata request and a `SELECT 1` have been answered.

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

/// A locked data directory. The lock is held until the value is dropped or the process ends.
pub struct DataDir {
    path: PathBuf,
    /// Held only for its lock, which the kernel releases when the file is closed.
    _lock: File,
}

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct EmbeddedConfig {
    /// Whether to start Kafka.
    pub kafka: bool,
    /// Whether to start Postgres.
    pub postgres: bool,
    /// The directory with Kafka's jars, or a Kafka distribution, which has them in `libs`. If `None`, the jars are searched
    /// for.
    pub kafka_home: Option<PathBuf>,
    /// A second listener of Kafka, for clients that reach it through a proxy.
    pub kafka_proxied: Option<ProxiedListener>,
}

/// A listener of Kafka whose clients are told the address of a proxy on this machine, so that all their connections pass it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxiedListener {
    /// The port on which Kafka listens, for the proxy.
    pub port: u16,
    /// The port of the proxy.
    pub proxy_port: u16,
}

/// Returns a free port on the loopback interface, below the range that the kernel uses for outgoing connections.
#[must_use]
pub fn free_port() -> u16 {
    port::pick()
}

/// The running children. Dropping the value also ends them, but without waiting: prefer [`Embedded::stop`].
pub struct Embedded {
    kafka: Option<Kafka>,
    postgres: Option<Postgres>,
    _data_dir: DataDir,
}

impl DataDir {
    /// Locks the directory, after creating it if it is missing. The directory contains data, logs, ports and passwords, so only
    /// its owner may access it.
    ///
    /// # Errors
    /// Another process has locked the directory, or it cannot be created or its permissions cannot be set.
    pub fn acquire(path: &Path) -> Result<Self, EmbeddedError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(error::io("create", path))?;
        let path = path.canonicalize().map_err(error::io("resolve", path))?;
        unprivileged::restrict_permissions(&path)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Returns the absolute path of the directory, without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Embedded {
    /// Starts the requested children, both at the same time, and returns when they answer requests.
    ///
    /// # Errors
    /// Java, Kafka's jars or Postgres are missing (the message says how to install them), or a child does not become ready in
    /// time (the message names its log).
    pub async fn start(data_dir: DataDir, config: EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let path = data_dir.path();
        // Before the ports are checked: a child of a killed run may still use them for a moment.
        tokio::join!(
            child::wait_for_leftover(kafka::pid_file(path)),
            child::wait_for_leftover(postgres::pid_file(path)),
        );
        let mut state = State::load_or_generate(path)?;
        let kafka = config.kafka.then(|| Kafka::prepare(path, &config, &mut state));
        let kafka = kafka.transpose()?;
        let postgres = config.postgres.then(|| Postgres::prepare(path, &mut state)).transpose()?;
        state.save(path)?;

        let start_kafka = async { if let Some(kafka) = &kafka { kafka.start().await } else { Ok(()) } };
        let start_postgres = async { if let Some(postgres) = &postgres { postgres.start().await } else { Ok(()) } };
        tokio::try_join!(start_kafka, start_postgres)?;
        Ok(Self { kafka, postgres, _data_dir: data_dir })
    }

    /// Returns `host:port` of the started Kafka; `None` if Kafka was not requested. The same after `stop_kafka` and
    /// `start_kafka`.
    #[must_use]
    pub fn kafka_bootstrap(&self) -> Option<&str> {
        self.kafka.as_ref().map(Kafka::bootstrap)
    }

    /// Returns the URL of the database. Its role may also create further databases. `None` if Postgres was not requested.
    #[must_use]
    pub fn database_url(&self) -> Option<&str> {
        self.postgres.as_ref().map(Postgres::database_url)
    }

    /// Returns the process id of the broker while it runs.
    #[must_use]
    pub fn kafka_pid(&self) -> Option<u32> {
        self.kafka.as_ref()?.child.pid()
    }

    /// Returns the process id of the postmaster while it runs.
    #[must_use]
    pub fn postgres_pid(&self) -> Option<u32> {
        self.postgres.as_ref()?.child.pid()
    }

    /// Returns the directory of Postgres's programs, such as `pg_dump`. `None` if Postgres was not requested.
    #[must_use]
    pub fn postgres_programs(&self) -> Option<&Path> {
        self.postgres.as_ref().map(Postgres::programs)
    }

    /// Stops both gracefully; kills a child that does not end in time.
    pub async fn stop(&self) {
        tokio::join!(self.stop_kafka(), self.stop_postgres());
    }

    /// Stops Kafka gracefully.
    pub async fn stop_kafka(&self) {
        if let Some(kafka) = &self.kafka {
            kafka.stop().await;
        }
    }

    /// Starts Kafka again, with the same port and data.
    ///
    /// # Errors
    /// The same as for [`Embedded::start`].
    pub async fn start_kafka(&self) -> Result<(), EmbeddedError> {
        if let Some(kafka) = &self.kafka { kafka.start().await } else { Ok(()) }
    }

    /// Stops Postgres gracefully and ends the sessions of its clients.
    pub async fn stop_postgres(&self) {
        if let Some(postgres) = &self.postgres {
            postgres.stop().await;
        }
    }

    /// Starts Postgres again, with the same port and data.
    ///
    /// # Errors
    /// The same as for [`Embedded::start`].
    pub async fn start_postgres(&self) -> Result<(), EmbeddedError> {
        if let Some(postgres) = &self.postgres { postgres.start().await } else { Ok(()) }
    }

    /// Freezes Kafka with `SIGSTOP`: its port stays open, but no request is answered.
    pub fn pause_kafka(&self) {
        self.kafka.iter().for_each(|kafka| kafka.child.pause());
    }

    /// Resumes a paused Kafka with `SIGCONT`.
    pub fn resume_kafka(&self) {
        self.kafka.iter().for_each(|kafka| kafka.child.resume());
    }

    /// Waits until a child has ended and returns the error that names it. Also returns if the child was stopped by one of the
    /// `stop` functions.
    pub async fn child_ended(&self) -> EmbeddedError {
        let kafka = async {
            if let Some(kafka) = &self.kafka { kafka.child.wait_for_end().await } else { std::future::pending().await }
        };
        let postgres = async {
            if let Some(postgres) = &self.postgres {
                postgres.child.wait_for_end().await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! { error = kafka => error, error = postgres => error }
    }
}

/// Locks the directory. The lock file contains the id of the process that has locked it.
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
