//! One batch in one transaction: dictionary, readings, commands, documents, outcomes, letters, offsets.

mod commands;
mod dictionary;
mod drift;
pub(crate) mod offsets;
mod readings;
mod rest;

use schemas::topic::Topics;
use sqlx::{Connection as _, PgConnection, types::time::OffsetDateTime};

use crate::{
    batch::{Batch, Fence, Item},
    stage::Staged,
};
use dictionary::Dictionary;

/// A time as sqlx binds it; rows are checked to lie within what both sides can hold.
fn moment(micros: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// What a transaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Readings that had no row before.
    pub inserted: u64,
    /// Reading events in the batch.
    pub readings: u64,
}

/// Why a transaction did not commit.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another sink has moved the offsets, or an older database was restored: seek anew.
    #[error("the next offsets in Postgres are not those that this sink left there")]
    Fenced,
    /// Postgres said no; [`crate::error::fault`] judges why.
    #[error("Postgres refused or is away")]
    Database(#[from] sqlx::Error),
}

/// A connection and what is known to be stored behind it. Dropped as a whole after any error.
pub struct Session {
    connection: PgConnection,
    dictionary: Dictionary,
}

/// Entries kept in memory; more are looked up again.
const DICTIONARY_MAX: usize = 200_000;

impl Session {
    /// Takes a connection.
    ///
    /// # Errors
    /// The database is away.
    pub async fn open(url: &str) -> Result<Self, sqlx::Error> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(
            "SET timezone = 'UTC'; SET application_name = 'device-manager sink'; \
             SET client_min_messages = warning; SET idle_in_transaction_session_timeout = '60s'; \
             CREATE TEMP TABLE stage (LIKE readings) ON COMMIT DELETE ROWS",
        )
        .execute(&mut connection)
        .await?;
        Ok(Self { connection, dictionary: Dictionary::default() })
    }

    /// Writes the items and moves the offsets, or does nothing.
    ///
    /// # Errors
    /// [`WriteError`]; the session must not be used again then.
    pub async fn write(&mut self, topics: &Topics, batch: &mut Batch) -> Result<Written, WriteError> {
        let Batch { items, staged, fence, .. } = batch;
        self.transact(topics, (items, staged), fence, true).await
    }

    /// Writes the items and takes it all back: finds out whether Postgres would have them.
    ///
    /// # Errors
    /// As [`Session::write`].
    pub async fn rehearse(&mut self, topics: &Topics, items: &[Item]) -> Result<(), WriteError> {
        self.transact(topics, (items, &mut Staged::of(items)), &[], false).await.map(|_| ())
    }

    async fn transact(
        &mut self,
        topics: &Topics,
        (items, staged): (&[Item], &mut Staged),
        fence: &[Fence],
        commit: bool,
    ) -> Result<Written, WriteError> {
        if self.dictionary.len() > DICTIONARY_MAX {
            self.dictionary = Dictionary::default();
        }
        let mut transaction = self.connection.begin().await?;
        if !offsets::advance(&mut transaction, topics, fence).await? {
            return Err(WriteError::Fenced);
        }
        let mut dictionary = std::mem::take(&mut self.dictionary);
        let written = readings::write(&mut transaction, &mut dictionary, items, staged).await?;
        commands::write(&mut transaction, items).await?;
        rest::documents(&mut transaction, items).await?;
        rest::outcomes(&mut transaction, items).await?;
        rest::letters(&mut transaction, items).await?;
        if commit {
            transaction.commit().await?;
            // Only what is committed is known: an entry that was rolled back has no id.
            self.dictionary = dictionary;
        } else {
            transaction.rollback().await?;
        }
        Ok(written)
    }
}
