//! Whether this sink may write into these tables.

use sqlx::PgConnection;

/// The version of the tables that this release writes: the number of its last migration.
pub const SCHEMA_VERSION: i32 = 4;

/// Why it may not.
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
pub(super) async fn check(connection: &mut PgConnection) -> Result<Result<(), Mismatch>, sqlx::Error> {
    let found: Option<(i32, i32)> =
        sqlx::query_as("SELECT version, compatible_from FROM schema_version").fetch_optional(connection).await?;
    let (version, compatible_from) = found.unwrap_or_default();
    Ok(if version < SCHEMA_VERSION {
        Err(Mismatch::TooOld(version))
    } else if compatible_from > SCHEMA_VERSION {
        Err(Mismatch::TooNew(compatible_from))
    } else {
        Ok(())
    })
}
