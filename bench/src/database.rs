//! The database of one run, and counts of its rows.

use sqlx::{Connection, PgConnection};

use crate::Result;

/// A database that is created for one run.
pub(crate) struct RunDatabase {
    pub(crate) url: String,
    name: String,
    maintenance: String,
}

/// A summary of a table, with which two runs can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) rows: u64,
    pub(crate) distinct: u64,
    /// MD5 over the sorted ids.
    pub(crate) ids: String,
}

impl RunDatabase {
    /// Creates the database `name`, as a copy of `template` if one is given. Drops an existing one of that name.
    pub(crate) async fn make(maintenance: &str, name: &str, template: Option<&RunDatabase>) -> Result<Self> {
        let mut connection = PgConnection::connect(maintenance).await?;
        let template = template.map_or("template0", |template| template.name.as_str());
        drop(&mut connection, name).await?;
        // FILE_COPY makes a checkpoint, so that dirty pages of earlier runs are not written during this one.
        sqlx::query(&format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
            .execute(&mut connection)
            .await?;
        let (server, _) = maintenance.rsplit_once('/').ok_or("the database URL names no database")?;
        Ok(Self { url: format!("{server}/{name}"), name: name.to_owned(), maintenance: maintenance.to_owned() })
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// Summarizes the table of readings.
    pub(crate) async fn stored(&self) -> Result<Stored> {
        let mut connection = self.connect().await?;
        let (rows, distinct, ids): (i64, i64, Option<String>) = sqlx::query_as(
            "SELECT count(*), count(DISTINCT reading_id), md5(string_agg(reading_id::text, ',' ORDER BY reading_id)) \
             FROM readings",
        )
        .fetch_one(&mut connection)
        .await?;
        Ok(Stored { rows: u64::try_from(rows)?, distinct: u64::try_from(distinct)?, ids: ids.unwrap_or_default() })
    }

    /// Returns the number of rows in the table of readings; 0 before it is created.
    pub(crate) async fn rows(&self) -> u64 {
        let Ok(mut connection) = self.connect().await else { return 0 };
        let rows: std::result::Result<i64, _> =
            sqlx::query_scalar("SELECT count(*) FROM readings").fetch_one(&mut connection).await;
        rows.ok().and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0)
    }

    /// Drops the database.
    pub(crate) async fn delete(self) -> Result<()> {
        let mut connection = PgConnection::connect(&self.maintenance).await?;
        drop(&mut connection, &self.name).await
    }
}

/// Ends all sessions of a database and drops it. `WITH (FORCE)` would fail while Postgres's autovacuum works in the database.
async fn drop(connection: &mut PgConnection, name: &str) -> Result<()> {
    let sessions =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user";
    sqlx::query(sessions).bind(name).execute(&mut *connection).await?;
    sqlx::query(&format!("DROP DATABASE IF EXISTS {name}")).execute(connection).await?;
    Ok(())
}
