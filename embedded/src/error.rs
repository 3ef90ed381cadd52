//! Why the embedded Kafka or Postgres could not be started. A message about a missing requirement says how to meet it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why the embedded Kafka or Postgres could not be started, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process uses this data directory.
    #[error(
        "{} is in use by process {holder}. Stop that process, or choose another directory with --data-dir.",
        data_dir.display()
    )]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// The id of the process that has locked it.
        holder: String,
    },
    /// No `java` executable was found.
    #[error(
        "Kafka needs Java 17 or newer and there is no `java` in JAVA_HOME or PATH. Run `make setup` (Debian: apt-get install \
         default-jre-headless), or set KAFKA_BOOTSTRAP_SERVERS to use a Kafka of your own."
    )]
    NoJava,
    /// Kafka's jars were not found.
    #[error(
        "Kafka's jars were not found; looked in {}. Run `make setup` in the repository, set --kafka-home (or KAFKA_HOME) to a \
         Kafka distribution, or set KAFKA_BOOTSTRAP_SERVERS to use a Kafka of your own.",
        list(.looked_in)
    )]
    NoKafka {
        /// The directories that were searched.
        looked_in: Vec<PathBuf>,
    },
    /// Postgres's server programs were not found, or not in the version of the existing data.
    #[error(
        "PostgreSQL's server programs{} were not found; looked in /usr/lib/postgresql, /usr/pgsql-* and PATH. Run `make setup` \
         (Debian: apt-get install postgresql), or set DATABASE_URL to use a Postgres of your own.",
        version.as_ref().map(|version| format!(" of version {version}, which created the data,")).unwrap_or_default()
    )]
    NoPostgres {
        /// The version of the existing data.
        version: Option<String>,
    },
    /// Postgres does not run as root, and no other suitable user exists.
    #[error(
        "Postgres refuses to run as root, and there is no user `postgres` or `nobody` to run it as. Add one, start as \
         another user, or set DATABASE_URL to use a Postgres of your own."
    )]
    NoUnprivilegedUser,
    /// The data is in a directory that the user of Postgres cannot access.
    #[error(
        "user {user} cannot access {}, and Postgres cannot run as root. Move the directory, or use another --data-dir.",
        directory.display()
    )]
    OutOfReach {
        /// The data directory of Postgres.
        directory: PathBuf,
        /// The user that Postgres would run as.
        user: String,
    },
    /// A file operation failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file with ports and passwords cannot be parsed.
    #[error("{} is damaged; it contains the passwords of the embedded Postgres", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// The parse error.
        source: serde_json::Error,
    },
    /// A child ended unexpectedly.
    #[error("{name} ended ({status}). The last lines of {}:\n{log_end}", log.display())]
    Ended {
        /// The name of the program.
        name: &'static str,
        /// Its exit status.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log file.
        log_end: String,
    },
    /// A child runs but did not become ready in time.
    #[error("{name} did not answer within {} s; its log is {}", within.as_secs(), log.display())]
    NotReady {
        /// The name of the program.
        name: &'static str,
        /// How long it was waited for.
        within: Duration,
        /// Its log file.
        log: PathBuf,
    },
    /// Postgres answers, but the role or the database could not be created.
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
