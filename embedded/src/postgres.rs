//! A real Postgres: a database cluster in the data directory, reachable over loopback only, with password authentication.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use crate::child::{ChildProcess, Program};
use crate::error::{EmbeddedError, io};
use crate::state::State;
use crate::{port, unprivileged};

const SUPERUSER: &str = "postgres";
/// The name of both the application's role and its database.
const APPLICATION: &str = "device_manager";
const INITDB_WITHIN: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often a start is tried. The backends of a killed postmaster need a moment to end; until then a new postmaster refuses to
/// start.
const ATTEMPTS: u32 = 10;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(300);

/// The settings that differ from Postgres's defaults: loopback only, and no row or statement contents in the log.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "password_encryption=scram-sha-256",
    "timezone=UTC",
    "log_error_verbosity=terse",
    "log_min_error_statement=panic",
    "log_min_messages=log",
];

pub(super) struct Postgres {
    pub(super) child: ChildProcess,
    programs: PathBuf,
    /// The directory of the database cluster, without symbolic links.
    cluster: PathBuf,
    initdb: Program,
    initdb_command: Vec<String>,
    password_file: PathBuf,
    superuser: PgConnectOptions,
    superuser_password: String,
    password: String,
    url: String,
}

/// Returns the file that identifies the process of a data directory.
pub(super) fn pid_file(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres.pid")
}

impl Postgres {
    pub(super) fn prepare(data_dir: &Path, state: &mut State) -> Result<Self, EmbeddedError> {
        let (home, user) = unprivileged::prepare_home(&data_dir.join("postgres"))?;
        let cluster = home.join("cluster");
        let version = std::fs::read_to_string(cluster.join("PG_VERSION")).ok().map(|version| version.trim().to_owned());
        let programs = find_programs(version.as_deref()).ok_or(EmbeddedError::NoPostgres { version })?;
        port::keep_or_pick(&mut state.postgres_port);

        let word = |text: &str| text.to_owned();
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut command = vec![
            path(&programs.join("postgres")),
            word("-D"),
            path(&cluster),
            word("-p"),
            state.postgres_port.to_string(),
        ];
        command.extend(SETTINGS.iter().flat_map(|setting| [word("-c"), word(setting)]));
        let password_file = home.join("password");
        let initdb_command = vec![
            path(&programs.join("initdb")),
            format!("--pgdata={}", path(&unfinished(&cluster))),
            format!("--username={SUPERUSER}"),
            format!("--pwfile={}", path(&password_file)),
            word("--auth=scram-sha-256"),
            word("--encoding=UTF8"),
            word("--locale=C.UTF-8"),
        ];
        let program = |name, command: &[String]| Program {
            name,
            command: command.to_vec(),
            environment: vec![("LC_ALL", word("C.UTF-8"))],
            user: user.clone(),
            // SIGINT is Postgres's "fast shutdown": it ends the sessions and writes a checkpoint.
            end_signal: Signal::INT,
            end_grace: Duration::from_secs(20),
            log: data_dir.join("postgres.log"),
            pid_file: pid_file(data_dir),
        };
        Ok(Self {
            child: ChildProcess::new(program("Postgres", &command)),
            initdb: program("initdb", &initdb_command),
            initdb_command,
            password_file,
            superuser: PgConnectOptions::new_without_pgpass()
                .host("127.0.0.1")
                .port(state.postgres_port)
                .username(SUPERUSER)
                .password(&state.postgres_superuser_password)
                .database("postgres")
                .ssl_mode(PgSslMode::Disable)
                .disable_statement_logging(),
            url: format!(
                "postgres://{APPLICATION}:{}@127.0.0.1:{}/{APPLICATION}",
                state.postgres_password, state.postgres_port
            ),
            superuser_password: state.postgres_superuser_password.clone(),
            password: state.postgres_password.clone(),
            programs,
            cluster,
        })
    }

    pub(super) fn programs(&self) -> &Path {
        &self.programs
    }

    pub(super) fn database_url(&self) -> &str {
        &self.url
    }

    pub(super) async fn start(&self) -> Result<(), EmbeddedError> {
        if !self.cluster.exists() {
            self.init().await?;
        }
        remove_stale_lock(&self.cluster)?;
        let mut attempt = 1;
        while let Err(error) = self.start_once().await {
            if attempt == ATTEMPTS || !matches!(error, EmbeddedError::Ended { .. }) {
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
        self.create_role_and_database().await
    }

    pub(super) async fn stop(&self) {
        self.child.stop().await;
    }

    /// Initialises the cluster under a temporary name and renames it, so that an interrupted initialisation is never mistaken
    /// for a complete one.
    async fn init(&self) -> Result<(), EmbeddedError> {
        let unfinished = unfinished(&self.cluster);
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(io("remove", &unfinished))?;
        }
        self.write_password_file()?;
        let outcome = self.initdb.run(&self.initdb_command, INITDB_WITHIN).await;
        std::fs::remove_file(&self.password_file).map_err(io("remove", &self.password_file))?;
        outcome?;
        std::fs::rename(&unfinished, &self.cluster).map_err(io("write", &self.cluster))
    }

    fn write_password_file(&self) -> Result<(), EmbeddedError> {
        let path = &self.password_file;
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(io("write", path))?;
        if let Some(user) = &self.initdb.user {
            chown(path, Some(user.uid), Some(user.gid)).map_err(io("change the owner of", path))?;
        }
        file.write_all(self.superuser_password.as_bytes()).map_err(io("write", path))
    }

    async fn start_once(&self) -> Result<(), EmbeddedError> {
        self.child.start()?;
        self.child.wait_until_ready(READY_WITHIN, async || self.is_answering().await).await
    }

    /// Returns whether `SELECT 1` is answered. A wrong password is an error, because waiting does not correct it.
    async fn is_answering(&self) -> Result<bool, sqlx::Error> {
        let answer = async {
            let mut connection = self.superuser.connect().await?;
            connection.execute("SELECT 1").await?;
            connection.close().await
        };
        match answer.await {
            Ok(()) => Ok(true),
            Err(error) if is_wrong_password(&error) => Err(error),
            Err(_) => Ok(false),
        }
    }

    async fn create_role_and_database(&self) -> Result<(), EmbeddedError> {
        let mut connection: PgConnection = self.superuser.connect().await?;
        let exists = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), EXISTS (SELECT FROM pg_database WHERE datname = $1)";
        let (role, database): (bool, bool) =
            sqlx::query_as(exists).bind(APPLICATION).fetch_one(&mut connection).await?;
        if !role {
            // The password has letters and digits only, so nothing needs escaping. CREATEDB because each test creates its own
            // database.
            let password = &self.password;
            let create = format!("CREATE ROLE {APPLICATION} LOGIN CREATEDB PASSWORD '{password}'");
            connection.execute(create.as_str()).await?;
        }
        // `device-manager roles apply` requires CREATEROLE.
        connection.execute(format!("ALTER ROLE {APPLICATION} CREATEROLE").as_str()).await?;
        if !database {
            let create = format!("CREATE DATABASE {APPLICATION} OWNER {APPLICATION}");
            connection.execute(create.as_str()).await?;
        }
        Ok(connection.close().await?)
    }
}

fn is_wrong_password(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "28P01")
}

fn unfinished(cluster: &Path) -> PathBuf {
    cluster.with_extension("part")
}

/// Removes a `postmaster.pid` that names a process that is not Postgres. After a crash of the machine, the id in it may belong
/// to any process, and Postgres would then refuse to start. The file cannot belong to a running Postgres of this directory,
/// because this process has the lock and has waited for leftovers. It is kept only if no such process exists, or if the process
/// is a Postgres.
fn remove_stale_lock(cluster: &Path) -> Result<(), EmbeddedError> {
    let path = cluster.join("postmaster.pid");
    let Ok(lock) = std::fs::read_to_string(&path) else { return Ok(()) };
    let pid = lock.lines().next().unwrap_or_default();
    let runs_postgres =
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "postgres");
    let is_alive = Path::new("/proc").join(pid).exists();
    if is_alive && !runs_postgres {
        std::fs::remove_file(&path).map_err(io("remove", &path))?;
    }
    Ok(())
}

/// Returns the directory of the server programs: those of `version` if data of that version exists, otherwise the newest.
fn find_programs(version: Option<&str>) -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> =
        installed("/usr/lib/postgresql", "").chain(installed("/usr", "pgsql-")).collect();
    found.sort_unstable();
    let wanted = |(number, _): &&(u32, PathBuf)| version.is_none_or(|version| version == number.to_string());
    let by_version = found.iter().rev().find(wanted).map(|(_, programs)| programs.clone());
    by_version.or_else(|| std::env::split_paths(&std::env::var_os("PATH")?).find(|directory| has_programs(directory)))
}

fn installed(parent: &str, prefix: &'static str) -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
        let programs = entry.path().join("bin");
        has_programs(&programs).then_some((version, programs))
    })
}

fn has_programs(directory: &Path) -> bool {
    directory.join("initdb").is_file() && directory.join("postgres").is_file()
}
