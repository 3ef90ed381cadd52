//! One batch in one transaction: readings, commands, documents, outcomes, letters, offsets.
//!
//! What another sink may wait for comes as late as it can: numbers of the dictionary are committed before, the rows are sent into a
//! table of the session's own, and the first lock is that of the next offsets, behind which Postgres ends a session that falls
//! silent. A batch that is outdated by then is fenced off.

mod commands;
mod dead_letters;
mod documents;
mod drift;
pub(crate) mod offsets;
mod outcomes;
mod readings;
mod refused_rows;

use schemas::topic::Topics;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction, types::time::OffsetDateTime};
use store::{
    Verdict,
    connect::{close, connect},
    migrate::{self, Mismatch},
    reading::Dictionary,
};

use crate::{
    batch::{Batch, Fence},
    item::{Item, Partition},
    skips,
    staged::Staged,
};

/// A time as sqlx binds it; rows are checked to lie within what both sides can hold.
fn moment(micros: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// How often each verdict on a device command was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdicts([u64; Verdict::ALL.len()]);

impl Verdicts {
    fn add(&mut self, verdict: Verdict, count: u64) {
        for (known, counted) in Verdict::ALL.into_iter().zip(&mut self.0) {
            *counted += if known == verdict { count } else { 0 };
        }
    }

    /// Each verdict with how often it was given.
    pub fn counts(&self) -> impl Iterator<Item = (Verdict, u64)> {
        Verdict::ALL.into_iter().zip(self.0)
    }
}

/// What a transaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Readings that had no row before.
    pub inserted: u64,
    /// Reading events in the batch.
    pub readings: u64,
    /// Verdicts on device commands, also those that changed.
    pub verdicts: Verdicts,
}

/// Why a transaction did not commit.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another sink has moved the offsets, or an older database was restored: seek anew.
    #[error("the next offsets in Postgres are not those that this sink left there")]
    Fenced,
    /// The tables are not those of this release.
    #[error(transparent)]
    Schema(#[from] Mismatch),
    /// Other commands are known at the positions of these, which stand there: `raw.devices` was made anew under the same epoch.
    #[error("{} device commands have the positions of others", .0.len())]
    PositionsReused(Vec<(Partition, i64)>),
    /// Postgres said no; [`store::fault`] judges why.
    #[error("Postgres refused or is away")]
    Database(#[from] sqlx::Error),
}

/// Whether Postgres has the tables of this release. A table that is locked is not waited for.
///
/// # Errors
/// Postgres is away, or does not admit this sink.
pub(crate) async fn takes(url: &str) -> Result<Result<(), Mismatch>, sqlx::Error> {
    let mut connection = connect(url).await?;
    let checked = migrate::check(&mut connection).await;
    close(connection).await;
    checked
}

/// A connection and what is known to be stored behind it. Dropped as a whole after any error but a refused row.
pub struct Session {
    connection: PgConnection,
    dictionary: Dictionary,
}

/// A batch that stands in Postgres but for the commit.
pub struct Prepared<'s> {
    transaction: Transaction<'s, Postgres>,
    written: Written,
}

/// What one transaction writes.
struct Work<'a> {
    items: &'a [Item],
    /// The readings among the items.
    staged: &'a mut Staged,
    /// The offsets that it moves.
    fence: &'a [Fence],
}

/// Entries kept in memory; more are looked up again.
const DICTIONARY_MAX: usize = 200_000;

impl Session {
    /// Takes a connection.
    ///
    /// # Errors
    /// The database is away, or its tables are not those of this release.
    pub async fn open(url: &str) -> Result<Self, WriteError> {
        let mut connection = connect(url).await?;
        migrate::check(&mut connection).await??;
        sqlx::raw_sql("CREATE TEMP TABLE stage (LIKE readings) ON COMMIT DELETE ROWS").execute(&mut connection).await?;
        Ok(Self { connection, dictionary: Dictionary::default() })
    }

    /// Ends the connection.
    pub async fn close(self) {
        close(self.connection).await;
    }

    /// Writes the items and moves the offsets, or does nothing.
    ///
    /// # Errors
    /// [`WriteError`]; the session must not be used again then.
    pub async fn write(&mut self, topics: &Topics, batch: &mut Batch) -> Result<Written, WriteError> {
        self.prepare(topics, batch).await?.commit().await
    }

    /// Does all of a write but the commit. What is dropped is taken back.
    ///
    /// # Errors
    /// As [`Session::write`].
    pub async fn prepare(&mut self, topics: &Topics, batch: &mut Batch) -> Result<Prepared<'_>, WriteError> {
        let Batch { items, staged, fence, .. } = batch;
        self.transact(topics, Work { items, staged, fence }).await
    }

    /// Writes the items and takes it all back: finds out whether Postgres would have them. A session that it refuses them to goes on.
    ///
    /// # Errors
    /// As [`Session::write`].
    pub(crate) async fn rehearse(&mut self, topics: &Topics, items: &[Item]) -> Result<(), WriteError> {
        let prepared = self.transact(topics, Work { items, staged: &mut Staged::of(items), fence: &[] }).await?;
        Ok(prepared.transaction.rollback().await?)
    }

    async fn transact(&mut self, topics: &Topics, work: Work<'_>) -> Result<Prepared<'_>, WriteError> {
        let Work { items, staged, fence } = work;
        let numbers = self.numbers(staged).await?;
        let mut transaction = self.connection.begin().await?;
        readings::stage(&mut transaction, staged, &numbers).await?;
        migrate::check(&mut transaction).await??;
        // From here on others may wait for this transaction.
        if !offsets::advance(&mut transaction, topics, fence).await? {
            return Err(WriteError::Fenced);
        }
        let mut written = readings::write(&mut transaction, items, staged).await?;
        written.verdicts = commands::write(&mut transaction, items).await?;
        documents::write(&mut transaction, items).await?;
        outcomes::write(&mut transaction, items).await?;
        dead_letters::write(&mut transaction, items).await?;
        skips::settle(&mut transaction, items).await?;
        Ok(Prepared { transaction, written })
    }

    /// The numbers of the dictionary entries that the rows name; new ones are committed.
    async fn numbers(&mut self, staged: &Staged) -> Result<Numbers, sqlx::Error> {
        if self.dictionary.len() > DICTIONARY_MAX {
            self.dictionary = Dictionary::default();
        }
        Ok(Numbers {
            codings: self.dictionary.codings(&mut self.connection, staged.codings()).await?,
            devices: self.dictionary.devices(&mut self.connection, staged.devices()).await?,
        })
    }
}

/// The numbers of the entries that a [`Staged`] names, in its order.
struct Numbers {
    codings: Vec<i64>,
    devices: Vec<i64>,
}

impl Prepared<'_> {
    /// Makes it last.
    ///
    /// # Errors
    /// Postgres is away, and the batch stands there or does not: the fence tells.
    pub async fn commit(self) -> Result<Written, WriteError> {
        self.transaction.commit().await?;
        Ok(self.written)
    }
}
