//! Events into Postgres, each exactly once in its effect.
//!
//! `consume` reads the event topics from the offsets that Postgres holds and fills a [`batch`]; `pipeline` writes it in
//! one transaction ([`mod@write`]) that also moves those offsets, and only from where this sink left them. Both exist once for
//! each [`batch::Lane`]. What a reading's
//! versions come to ([`merge`]), what device commands come to ([`fold`]) and how outcomes are kept ([`ranges`]) are pure
//! functions. [`trace`] answers what became of a payload, [`drift`] what payloads held that is unknown,
//! and [`skips`] is what an operator may give up.

pub mod batch;
mod config;
mod consume;
pub mod copy;
pub mod decode;
pub mod drift;
pub mod error;
pub mod fold;
pub mod letters;
pub mod merge;
mod pipeline;
pub mod ranges;
pub mod row;
pub mod skips;
pub mod stage;
pub mod trace;
mod verdict;
pub mod write;

use std::borrow::Cow;

use sqlx::migrate::Migrator;

pub use batch::BatchLimits;
pub use config::SinkConfig;
pub use error::SinkError;
pub use pipeline::run;

/// The tables and views; guarded by a lock in Postgres, so several processes may start at once.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Applies the migrations that are missing.
///
/// # Errors
/// Postgres is away, the user may not create tables, or an applied migration was changed.
pub async fn migrate(pool: &sqlx::PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    // Later ones are none of this release's business: `write::SCHEMA_VERSION` says whether it may write nevertheless.
    let known =
        Migrator { migrations: Cow::Borrowed(&MIGRATIONS.migrations), ignore_missing: true, ..Migrator::DEFAULT };
    known.run(pool).await
}
