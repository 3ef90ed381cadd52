//! A separate database on the Postgres that all tests share.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use embedded::Embedded;
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgPoolOptions};
use store::migrate::migrate;
use tests::{create_database, drop_database, postgres_program, servers};

pub(crate) struct Database {
    pub(crate) embedded: &'static Embedded,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) pool: PgPool,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Database {
    /// Creates a database with all tables.
    pub(crate) async fn make() -> Self {
        let database = Self::empty().await;
        migrate(&database.pool).await.unwrap();
        database
    }

    /// Creates a database without tables.
    pub(crate) async fn empty() -> Self {
        let embedded = servers(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("sink")).await;
        let name = format!("sink_{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let url = create_database(embedded, &name).await;
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await.unwrap();
        Self { embedded, name, url, pool }
    }

    /// Runs a statement over a connection to another database.
    pub(crate) async fn administer(&self, statement: &str) {
        let mut connection = PgConnection::connect(self.embedded.database_url().unwrap()).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }

    pub(crate) fn dump(&self) -> Vec<u8> {
        let done = Command::new(postgres_program("pg_dump")).args(["-Fc", "-d", &self.url]).output().unwrap();
        assert!(done.status.success());
        done.stdout
    }

    /// Restores a dump as an operator does: all connections are terminated, and the database is recreated.
    pub(crate) async fn restore(&self, dump: &[u8]) {
        drop_database(self.embedded, &self.name).await;
        self.administer(&format!("CREATE DATABASE {}", self.name)).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), dump).unwrap();
        let mut pg_restore = Command::new(postgres_program("pg_restore"));
        pg_restore.args(["--single-transaction", "--no-owner", "-d", &self.url]).arg(file.path());
        assert!(pg_restore.stderr(Stdio::null()).status().unwrap().success());
    }

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
