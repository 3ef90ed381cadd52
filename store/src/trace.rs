//! What Postgres knows of one raw payload; for `device-manager trace`.

mod listing;

use schemas::{format::RawTopic, receipt::Position};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::{topic_code, verdict::Verdict};

pub use listing::{Listing, TracedLetter, TracedReading};

/// What the normalizer has made of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TracedOutcome {
    /// Items in it.
    pub items: i32,
    /// Readings made of them.
    pub readings: i32,
    /// Device commands made of them.
    pub commands: i32,
    /// Items refused.
    pub rejections: i32,
    /// The mapping that judged.
    pub mapping_version: i32,
}

/// Readings of the payload that share their state, status and code.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize)]
pub struct ReadingCount {
    /// `current`, `superseded` by another version, or `duplicate` of another item.
    pub state: String,
    /// The state of the observation.
    pub status: String,
    /// The code's system.
    pub code_system: String,
    /// The code; of a panel, the panel's.
    pub code: String,
    /// The code's text.
    pub display: Option<String>,
    /// How many.
    pub readings: i64,
}

/// Refused items of the payload that share who refused them and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterCount {
    /// The stage that refused: `normalizer` or `sink`.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// How many items.
    pub items: i64,
}

/// How much of a payload has reached the database. Its size does not depend on the payload's.
pub struct Progress {
    /// What is to come; none while the sink has not seen the outcome.
    pub outcome: Option<TracedOutcome>,
    /// The readings that are there.
    pub readings: Vec<ReadingCount>,
    /// The items that were refused.
    pub letters: Vec<LetterCount>,
    /// The verdict on a device command.
    pub verdict: Option<Verdict>,
    /// How many items have a reading. An item may have several rows, where a later content of its reading came from the same payload.
    items_stored: i64,
}

impl Progress {
    /// Asks the database.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn load(connection: &mut PgConnection, position: &Position) -> Result<Self, sqlx::Error> {
        Ok(Self {
            outcome: outcome(connection, position).await?,
            readings: reading_counts(connection, position).await?,
            letters: letter_counts(connection, position).await?,
            verdict: verdict(connection, position).await?,
            items_stored: items_stored(connection, position).await?,
        })
    }

    /// Whether everything that the outcome promises is there: the events of a payload reach the database in any order.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let Some(outcome) = self.outcome else { return false };
        let refused = |stage: &str| -> i64 {
            self.letters.iter().filter(|letter| letter.stage == stage).map(|letter| letter.items).sum()
        };
        self.items_stored + refused("sink") >= i64::from(outcome.readings)
            && refused("normalizer") >= i64::from(outcome.rejections)
            && i64::from(self.verdict.is_some()) >= i64::from(outcome.commands)
    }
}

/// The items of a payload whose reading is known, as `found`. Parameters: epoch, partition, offset, topic code. A version at the
/// place of the current row is that row's content.
const FOUND: &str = "WITH found AS (
    SELECT reading_id, item, 'current' AS state FROM readings
    WHERE raw_offset = $3 AND raw_partition = $2 AND topic_epoch = $1 AND topic_code = $4
    UNION ALL
    SELECT d.reading_id, d.item, 'duplicate' FROM reading_duplicates d
    WHERE d.raw_offset = $3 AND d.raw_partition = $2 AND d.topic_epoch = $1 AND d.topic_code = $4
    UNION ALL
    SELECT v.reading_id, v.item, 'superseded' FROM reading_versions v
    WHERE v.raw_offset = $3 AND v.raw_partition = $2 AND v.topic_epoch = $1 AND v.topic_code = $4
      AND NOT EXISTS (SELECT FROM readings r
                      WHERE r.reading_id = v.reading_id
                        AND (r.topic_code, r.topic_epoch, r.raw_partition, r.raw_offset, r.item)
                            = (v.topic_code, v.topic_epoch, v.raw_partition, v.raw_offset, v.item)))";

fn keys(position: &Position) -> (i32, i32, i64) {
    (i32::from(position.topic_epoch), position.partition, position.offset)
}

async fn reading_counts(connection: &mut PgConnection, position: &Position) -> Result<Vec<ReadingCount>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    let query = format!(
        "{FOUND}
         SELECT f.state, r.status::text, k.system AS code_system, k.code, k.display, count(*) AS readings
         FROM found f JOIN readings r USING (reading_id) JOIN codings k USING (coding_id)
         GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC, 1, 2, 3, 4"
    );
    sqlx::query_as(&query)
        .bind(epoch)
        .bind(partition)
        .bind(offset)
        .bind(topic_code(position.topic))
        .fetch_all(connection)
        .await
}

async fn items_stored(connection: &mut PgConnection, position: &Position) -> Result<i64, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    sqlx::query_scalar(&format!("{FOUND} SELECT count(DISTINCT item) FROM found"))
        .bind(epoch)
        .bind(partition)
        .bind(offset)
        .bind(topic_code(position.topic))
        .fetch_one(connection)
        .await
}

async fn letter_counts(connection: &mut PgConnection, position: &Position) -> Result<Vec<LetterCount>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    sqlx::query_as!(
        LetterCount,
        "SELECT stage, reason, sum(item_count) AS \"items!\" FROM dead_letters \
         WHERE raw_offset = $3 AND raw_partition = $2 AND topic_epoch = $1 AND raw_topic = $4 \
         GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
        epoch,
        partition,
        offset,
        position.topic.as_str()
    )
    .fetch_all(connection)
    .await
}

async fn outcome(connection: &mut PgConnection, position: &Position) -> Result<Option<TracedOutcome>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    sqlx::query_as!(
        TracedOutcome,
        "SELECT items, readings, commands, rejections, mapping_version FROM outcomes \
         WHERE topic = $4 AND topic_epoch = $1 AND raw_partition = $2 AND first_offset <= $3 AND last_offset >= $3",
        epoch,
        partition,
        offset,
        position.topic.as_str()
    )
    .fetch_optional(connection)
    .await
}

async fn verdict(connection: &mut PgConnection, position: &Position) -> Result<Option<Verdict>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    if position.topic != RawTopic::Devices {
        return Ok(None);
    }
    let found = sqlx::query_scalar!(
        "SELECT verdict FROM device_commands WHERE topic_epoch = $1 AND raw_partition = $2 AND raw_offset = $3 \
         UNION ALL \
         (SELECT $4 FROM excess_commands \
          WHERE topic_epoch = $1 AND raw_partition = $2 AND first_offset <= $3 AND last_offset >= $3 LIMIT 1)",
        epoch,
        partition,
        offset,
        Verdict::TooManyCommands.as_str()
    )
    .fetch_optional(connection)
    .await?;
    let unknown = |word: &str| sqlx::Error::Decode(format!("there is no verdict {word}").into());
    found.flatten().map(|word| Verdict::from_word(&word).ok_or_else(|| unknown(&word))).transpose()
}

/// Where the sinks read on in one partition of an event topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextOffset {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The next record that a sink reads.
    pub next_offset: i64,
}

/// Where the sinks read on, by topic and partition.
///
/// # Errors
/// Postgres is away.
pub async fn next_offsets(connection: &mut PgConnection) -> Result<Vec<NextOffset>, sqlx::Error> {
    let query =
        sqlx::query_as!(NextOffset, "SELECT topic, partition, next_offset FROM sink_offsets ORDER BY topic, partition");
    query.fetch_all(connection).await
}
