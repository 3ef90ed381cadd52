//! One Postgres for all tests of the binary; each test owns a database.

use std::{
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;

const NOBODY: u32 = 65_534;

pub(crate) struct Cluster {
    child: Mutex<Child>,
    port: u16,
    programs: PathBuf,
    _dir: TempDir,
}

/// A database of its own.
pub(crate) struct Database {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) pool: PgPool,
}

static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    found.sort();
    found.pop().expect("Postgres is installed")
}

impl Cluster {
    pub(crate) fn get() -> Arc<Self> {
        let mut running = RUNNING.lock().unwrap();
        running.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start());
            *running = Arc::downgrade(&cluster);
            cluster
        })
    }

    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let is_root =
            std::fs::metadata(dir.path()).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap() == 0;
        if is_root {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let programs = programs();
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let data = dir.path().join("data");
        let made =
            command("initdb").arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-N"]).status().unwrap();
        assert!(made.success());
        let port = free_port();
        let child = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "fsync=off", "-c", "log_min_messages=panic", "-c", "max_connections=200"])
            .spawn()
            .unwrap();
        Self { child: Mutex::new(child), port, programs, _dir: dir }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) async fn administer(&self, statement: &str) {
        let mut connection = connect(&self.url("postgres")).await;
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }

    pub(crate) async fn database(self: Arc<Self>) -> Database {
        let name = format!("t{}", COUNT.fetch_add(1, Ordering::SeqCst));
        self.administer(&format!("CREATE DATABASE {name}")).await;
        let url = self.url(&name);
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await.unwrap();
        sink::migrate(&pool).await.unwrap();
        Database { cluster: self, name, url, pool }
    }

    pub(crate) fn dump(&self, database: &str) -> Vec<u8> {
        let done =
            Command::new(self.programs.join("pg_dump")).args(["-Fc", "-d", &self.url(database)]).output().unwrap();
        assert!(done.status.success());
        done.stdout
    }

    /// As an operator does it: whoever is connected is thrown out, and the database is made anew.
    pub(crate) async fn restore(&self, database: &str, dump: &[u8]) {
        self.administer(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
        self.administer(&format!("CREATE DATABASE {database}")).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), dump).unwrap();
        let done = Command::new(self.programs.join("pg_restore"))
            .args(["--single-transaction", "-d", &self.url(database)])
            .arg(file.path())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(done.success());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Database {
    pub(crate) async fn count(&self, statement: &str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn text(&self, statement: &str) -> String {
        let text: Option<String> =
            sqlx::query_scalar(&format!("SELECT coalesce(string_agg(x.x, ';'), '') FROM ({statement}) x(x)"))
                .fetch_one(&self.pool)
                .await
                .unwrap();
        text.unwrap_or_default()
    }
}

async fn connect(url: &str) -> PgConnection {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match PgConnection::connect(url).await {
            Ok(connection) => return connection,
            Err(error) => assert!(Instant::now() < deadline, "Postgres does not come up: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
