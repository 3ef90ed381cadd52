//! Writes one batch in one transaction: readings, commands, documents, outcomes, dead letters, offsets.
//!
//! Locks that another sink may wait for are taken as late as possible. The ids of dictionary entries are committed
//! beforehand, and the rows are sent into a temporary table of the session. The first lock is that of the next offsets; from
//! then on Postgres ends a session that stays idle. A batch that is stale by then is fenced off.

mod commands;
mod dead_letters;
mod documents;
mod drift;
mod locks;
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
    encoded_readings::EncodedReadings,
    item::{Item, Partition},
    skips,
};

/// Converts microseconds to the type that sqlx binds. Rows are checked beforehand to be within the range of both sides.
fn moment(micros: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Returns the time by the clock of Postgres, which is the same for all sinks. `now()` would be that of the start of the transaction,
/// before it waited for locks.
async fn now(connection: &mut PgConnection) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar!("SELECT clock_timestamp() AS \"now!\"").fetch_one(connection).await
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

    /// Each verdict, and how often it was given.
    pub fn counts(&self) -> impl Iterator<Item = (Verdict, u64)> {
        Verdict::ALL.into_iter().zip(self.0)
    }
}

/// What a transaction wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Readings that had no row before.
    pub inserted: u64,
    /// Reading events in the batch.
    pub readings: u64,
    /// Verdicts on device commands, including those that changed.
    pub verdicts: Verdicts,
}

/// Why a transaction was not committed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another sink has moved the offsets, or an older database was restored: read again from the stored offsets.
    #[error("the next offsets in Postgres are not the ones that this sink wrote last")]
    Fenced,
    /// The tables have a version that this release cannot write.
    #[error(transparent)]
    Schema(#[from] Mismatch),
    /// Other commands are stored at the positions of these commands: `raw.devices` was recreated under the same epoch.
    #[error("other commands are stored at the positions of {} device commands", .0.len())]
    PositionsReused(Vec<(Partition, i64)>),
    /// Postgres refused a statement or is not reachable; [`store::error_class`] classifies the error.
    #[error("Postgres refused a statement or is not reachable")]
    Database(#[from] sqlx::Error),
}

/// Checks whether this release can write the tables in Postgres. It waits for a locked table up to `lock_timeout`.
///
/// # Errors
/// Postgres is not reachable, or refuses this sink.
pub(crate) async fn check_tables(url: &str) -> Result<Result<(), Mismatch>, sqlx::Error> {
    let mut connection = connect(url).await?;
    let checked = migrate::check(&mut connection).await;
    close(connection).await;
    checked
}

/// A connection, and the dictionary entries that are known to be stored. To be dropped after any error except a refused row.
pub struct Session {
    connection: PgConnection,
    dictionary: Dictionary,
}

/// A batch that is written, except for the commit.
pub struct Prepared<'s> {
    transaction: Transaction<'s, Postgres>,
    written: Written,
}

/// What one transaction writes.
struct Work<'a> {
    items: &'a [Item],
    /// The readings among the items.
    encoded: &'a mut EncodedReadings,
    /// The offsets that the transaction advances.
    fence: &'a [Fence],
}

/// How many dictionary entries are kept in memory. When there are more, all of them are looked up again.
const DICTIONARY_MAX: usize = 200_000;

impl Session {
    /// Opens a connection and checks the tables.
    ///
    /// # Errors
    /// Postgres is not reachable, or its tables have a version that this release cannot write.
    pub async fn open(url: &str) -> Result<Self, WriteError> {
        let mut connection = connect(url).await?;
        migrate::check(&mut connection).await??;
        sqlx::raw_sql("CREATE TEMP TABLE stage (LIKE readings) ON COMMIT DELETE ROWS").execute(&mut connection).await?;
        Ok(Self { connection, dictionary: Dictionary::default() })
    }

    /// Closes the connection.
    pub async fn close(self) {
        close(self.connection).await;
    }

    /// Writes the items and advances the offsets, or changes nothing.
    ///
    /// # Errors
    /// [`WriteError`]. The session must not be used afterwards.
    pub async fn write(&mut self, topics: &Topics, batch: &mut Batch) -> Result<Written, WriteError> {
        self.prepare(topics, batch).await?.commit().await
    }

    /// Does all of a write except the commit. Dropping the result rolls the transaction back.
    ///
    /// # Errors
    /// As [`Session::write`].
    pub async fn prepare(&mut self, topics: &Topics, batch: &mut Batch) -> Result<Prepared<'_>, WriteError> {
        let Batch { items, encoded, fence, .. } = batch;
        self.transact(topics, Work { items, encoded, fence }).await
    }

    /// Writes the items and rolls the transaction back, to find out whether Postgres accepts them. If it refuses them, the
    /// session can still be used.
    ///
    /// # Errors
    /// As [`Session::write`].
    pub(crate) async fn rehearse(&mut self, topics: &Topics, items: &[Item]) -> Result<(), WriteError> {
        let prepared =
            self.transact(topics, Work { items, encoded: &mut EncodedReadings::of(items), fence: &[] }).await?;
        Ok(prepared.transaction.rollback().await?)
    }

    async fn transact(&mut self, topics: &Topics, work: Work<'_>) -> Result<Prepared<'_>, WriteError> {
        let Work { items, encoded, fence } = work;
        let ids = self.dictionary_ids(encoded).await?;
        let mut transaction = self.connection.begin().await?;
        readings::copy_to_stage(&mut transaction, encoded, &ids).await?;
        migrate::check(&mut transaction).await??;
        // From here on, other transactions may wait for this one.
        if !offsets::advance(&mut transaction, topics, fence).await? {
            return Err(WriteError::Fenced);
        }
        let stored_at = now(&mut transaction).await?;
        let mut written = readings::write(&mut transaction, items, encoded, stored_at).await?;
        written.verdicts = commands::write(&mut transaction, items, stored_at).await?;
        documents::write(&mut transaction, items).await?;
        outcomes::write(&mut transaction, items).await?;
        dead_letters::write(&mut transaction, items, stored_at).await?;
        skips::settle(&mut transaction, items).await?;
        Ok(Prepared { transaction, written })
    }

    /// Returns the ids of the dictionary entries that the rows name. New entries are committed.
    async fn dictionary_ids(&mut self, encoded: &EncodedReadings) -> Result<DictionaryIds, sqlx::Error> {
        if self.dictionary.cached_len() > DICTIONARY_MAX {
            self.dictionary = Dictionary::default();
        }
        Ok(DictionaryIds {
            codings: self.dictionary.coding_ids(&mut self.connection, encoded.codings()).await?,
            devices: self.dictionary.device_ids(&mut self.connection, encoded.devices()).await?,
        })
    }
}

/// The ids of the entries that [`EncodedReadings`] names, in the same order.
struct DictionaryIds {
    codings: Vec<i64>,
    devices: Vec<i64>,
}

impl Prepared<'_> {
    /// Commits the transaction.
    ///
    /// # Errors
    /// Postgres is not reachable. Whether the batch was committed is unknown; the fence of the next attempt decides it.
    pub async fn commit(self) -> Result<Written, WriteError> {
        self.transaction.commit().await?;
        Ok(self.written)
    }
}
