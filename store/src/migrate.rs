//! The tables and views of this release, and whether a sink may write into those that it meets.

use std::borrow::Cow;

use sqlx::{
    PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
};

use crate::comment;

/// The tables and views; guarded by a lock in Postgres, so several processes may start at once.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The version of the tables that this release writes: the number of its last migration.
pub const SCHEMA_VERSION: i32 = include!(concat!(env!("OUT_DIR"), "/schema_version.rs"));

/// Applies the migrations that are missing, and says in the database what its columns mean.
///
/// # Errors
/// Postgres is away, the user may not create tables, or an applied migration was changed.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    // Later ones are none of this release's business: `SCHEMA_VERSION` says whether it may write nevertheless.
    let known =
        Migrator { migrations: Cow::Borrowed(&MIGRATIONS.migrations), ignore_missing: true, ..Migrator::DEFAULT };
    known.run(pool).await?;
    let mut connection = pool.acquire().await?;
    if version(&mut connection).await?.0 == SCHEMA_VERSION {
        comment::apply(&mut connection).await?;
    }
    Ok(())
}

/// Why a sink may not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Migrations are missing.
    #[error(
        "the tables are those of version {0}, and this sink writes version {SCHEMA_VERSION}: \
         start one sink with --migrate"
    )]
    TooOld(i32),
    /// A later release has changed the tables so that this one would damage them.
    #[error(
        "the tables ask for a sink that knows version {0}, and this one knows {SCHEMA_VERSION}: \
         upgrade this sink, nothing is lost while it waits"
    )]
    TooNew(i32),
}

/// Looks, and holds off migrations until the transaction ends: they begin by locking the table out.
///
/// # Errors
/// Postgres is away, or has no tables.
pub async fn check(connection: &mut PgConnection) -> Result<Result<(), Mismatch>, sqlx::Error> {
    let (version, compatible_from) = version(connection).await?;
    Ok(if version < SCHEMA_VERSION {
        Err(Mismatch::TooOld(version))
    } else if compatible_from > SCHEMA_VERSION {
        Err(Mismatch::TooNew(compatible_from))
    } else {
        Ok(())
    })
}

/// The version of the tables, and the least version that a sink must know to write into them.
async fn version(connection: &mut PgConnection) -> Result<(i32, i32), sqlx::Error> {
    let found = sqlx::query!("SELECT version, compatible_from FROM schema_version").fetch_optional(connection).await?;
    Ok(found.map(|row| (row.version, row.compatible_from)).unwrap_or_default())
}
