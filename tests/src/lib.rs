//! A real Kafka and a real Postgres for tests. All tests of a binary share one of each; the first test starts them, and they end
//! with the process.
//!
//! Requires Java, Kafka's jars and Postgres, as `make setup` installs them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test helper fails by a panic, as a test does")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use embedded::{DataDir, Embedded, EmbeddedConfig};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::OnceCell;

static SERVERS: OnceCell<Embedded> = OnceCell::const_new();

/// Returns both servers, which the first call starts. Their data stays in `directory`, so that only the very first run waits for
/// their set-up. The databases and topics of earlier runs are removed.
///
/// # Panics
/// If something is not installed, or another test run uses the directory.
pub async fn servers(directory: &Path) -> &'static Embedded {
    SERVERS.get_or_init(|| start(directory)).await
}

async fn start(directory: &Path) -> Embedded {
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|workspace| workspace.join(".kafka"));
    let config = EmbeddedConfig { kafka: true, postgres: true, kafka_home: jars, kafka_proxied: None };
    let data_dir = DataDir::acquire(directory).unwrap_or_else(|error| panic!("{error}"));
    let embedded = Embedded::start(data_dir, config).await.unwrap_or_else(|error| panic!("{error}"));
    tokio::join!(remove_databases(&embedded), remove_topics(&embedded));
    embedded
}

async fn remove_databases(embedded: &Embedded) {
    let mut connection = PgConnection::connect(embedded.database_url().unwrap()).await.unwrap();
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT datname FROM pg_database \
         WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND datname <> current_database()",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    for name in left {
        drop_database(embedded, &name).await;
    }
}

/// Ends all sessions of a database and drops it. `DROP DATABASE … WITH (FORCE)` would fail while Postgres's autovacuum works in the
/// database.
///
/// # Panics
/// If Postgres is unavailable, or has no database of that name.
pub async fn drop_database(embedded: &Embedded, name: &str) {
    let mut connection = PgConnection::connect(embedded.database_url().unwrap()).await.unwrap();
    for statement in [
        format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"),
        format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND usename = current_user"
        ),
        format!("DROP DATABASE {name}"),
    ] {
        sqlx::query(&statement).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

async fn remove_topics(embedded: &Embedded) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", embedded.kafka_bootstrap().unwrap());
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(30)).unwrap();
    let left: Vec<&str> = metadata
        .topics()
        .iter()
        .map(rdkafka::metadata::MetadataTopic::name)
        .filter(|name| !name.starts_with("__"))
        .collect();
    if !left.is_empty() {
        admin.delete_topics(&left, &AdminOptions::new()).await.unwrap();
    }
}

/// Creates an empty database and returns its URL.
///
/// # Panics
/// If Postgres is unavailable, or has a database of that name.
pub async fn create_database(embedded: &Embedded, name: &str) -> String {
    let url = embedded.database_url().unwrap();
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(&format!("CREATE DATABASE {name}")).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// Returns the path of a client program of Postgres, such as `pg_dump`; the bare name if Debian's directories do not have it.
///
/// # Panics
/// If Debian's directory of Postgres versions cannot be read.
#[must_use]
pub fn postgres_program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap();
    let mut programs = versions.map(|version| version.unwrap().path().join("bin").join(name));
    programs.find(|program| program.exists()).unwrap_or_else(|| PathBuf::from(name))
}
