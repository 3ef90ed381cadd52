//! The tables and views of this release, and the check whether a sink may write into the existing tables.

use std::borrow::Cow;

use sqlx::{
    PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
};

use crate::comment;

/// The migrations. A lock in Postgres guards them, so several processes may apply them at the same time.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The version of the tables that this release writes: the number of its last migration.
pub const SCHEMA_VERSION: i32 = include!(concat!(env!("OUT_DIR"), "/schema_version.rs"));

/// Applies the missing migrations, and writes the comments on tables and columns.
///
/// # Errors
/// Postgres is unavailable, the user may not create tables, or an applied migration was changed.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    // Migrations of later releases are ignored here: `check` decides whether this release may still write.
    let known =
        Migrator { migrations: Cow::Borrowed(&MIGRATIONS.migrations), ignore_missing: true, ..Migrator::DEFAULT };
    known.run(pool).await?;
    let mut connection = pool.acquire().await?;
    if version(&mut connection).await?.0 == SCHEMA_VERSION {
        comment::apply(&mut connection).await?;
    }
    Ok(())
}

/// Why a sink must not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Migrations are missing.
    #[error(
        "the tables are those of version {0}, but this sink writes version {SCHEMA_VERSION}: \
         start one sink with --migrate"
    )]
    TooOld(i32),
    /// A later release has changed the tables in such a way that this release would damage them.
    #[error(
        "the tables require a sink that knows version {0}, but this one knows version {SCHEMA_VERSION}: \
         upgrade this sink; nothing is lost while it waits"
    )]
    TooNew(i32),
}

/// Checks the version of the tables. Reading it also blocks migrations until the transaction ends, because each migration begins by
/// locking `schema_version` exclusively.
///
/// # Errors
/// Postgres is unavailable, or the table `schema_version` does not exist.
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

/// Returns the version of the tables, and the lowest version that a sink must know to write into them.
async fn version(connection: &mut PgConnection) -> Result<(i32, i32), sqlx::Error> {
    let found = sqlx::query!("SELECT version, compatible_from FROM schema_version").fetch_optional(connection).await?;
    Ok(found.map(|row| (row.version, row.compatible_from)).unwrap_or_default())
}
