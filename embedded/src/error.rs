//! Why the embedded Kafka or Postgres could not be had; every message says the way out.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why the embedded Kafka or Postgres could not be started, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process runs on this data directory.
    #[error(
        "{} is in use by process {holder}. Stop that one, or give this one a directory of its own with --data-dir.",
        data_dir.display()
    )]
    InUse {
        /// The directory.
        data_dir: PathBuf,
        /// The process that holds it.
        holder: String,
    },
    /// No `java` was found.
    #[error(
        "Kafka needs Java 17 or newer and there is no `java` in JAVA_HOME or PATH. Run `make setup` (Debian: apt-get install \
         default-jre-headless), or set KAFKA_BOOTSTRAP_SERVERS to use a Kafka of your own."
    )]
    NoJava,
    /// No jars of Kafka were found.
    #[error(
        "Kafka's jars were not found; looked in {}. Run `make setup` in the repository, give --kafka-home (or KAFKA_HOME) a \
         Kafka distribution, or set KAFKA_BOOTSTRAP_SERVERS to use a Kafka of your own.",
        list(.looked_in)
    )]
    NoKafka {
        /// Where they were looked for.
        looked_in: Vec<PathBuf>,
    },
    /// No server programs of Postgres were found, or not of the version that made the data.
    #[error(
        "PostgreSQL's server programs{} were not found; looked in /usr/lib/postgresql, /usr/pgsql-* and PATH. Run `make setup` \
         (Debian: apt-get install postgresql), or set DATABASE_URL to use a Postgres of your own.",
        version.as_ref().map(|version| format!(" of version {version}, which made the data,")).unwrap_or_default()
    )]
    NoPostgres {
        /// The version the existing data needs.
        version: Option<String>,
    },
    /// Postgres does not run as root and there is nobody else it could run as.
    #[error(
        "Postgres refuses to run as root, and there is neither a user `postgres` nor `nobody` it could run as. Add one, start as \
         another user, or set DATABASE_URL to use a Postgres of your own."
    )]
    NoUnprivilegedUser,
    /// The data lies where the user that Postgres runs as cannot go.
    #[error(
        "{} lies in a directory that user {user} may not enter, and Postgres cannot run as root. Move it, or use another --data-dir.",
        directory.display()
    )]
    OutOfReach {
        /// The directory of Postgres.
        directory: PathBuf,
        /// Whom Postgres would run as.
        user: String,
    },
    /// A file could not be handled.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file with ports and passwords cannot be understood.
    #[error("{} is damaged; it holds the passwords of the embedded Postgres", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// A child ended when it should run.
    #[error("{name} ended ({status}). The end of {}:\n{log_end}", log.display())]
    Ended {
        /// Which child.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Where its output is.
        log: PathBuf,
        /// The last lines of it.
        log_end: String,
    },
    /// A child runs but does not answer.
    #[error("{name} did not answer within {} s; its log is {}", within.as_secs(), log.display())]
    NotReady {
        /// Which child.
        name: &'static str,
        /// How long it was given.
        within: Duration,
        /// Where its output is.
        log: PathBuf,
    },
    /// Postgres answers, but the role or the database could not be made.
    #[error("could not prepare the embedded Postgres")]
    Database(#[from] sqlx::Error),
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EmbeddedError {
    let path = path.to_owned();
    move |source| EmbeddedError::Io { action, path, source }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
