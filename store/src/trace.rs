//! What the database contains about one payload; for `device-manager trace`.

mod listing;

use schemas::{format::RawTopic, receipt::ItemPosition};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::{topic_code, verdict::Verdict};

pub use listing::{ListingLimits, TracedDeadLetter, TracedReading};

/// The outcome of the payload in the normalizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TracedOutcome {
    /// The number of items in the payload.
    pub items: i32,
    /// The number of readings made from the items.
    pub readings: i32,
    /// The number of device commands made from the items.
    pub commands: i32,
    /// The number of items that were refused.
    pub rejections: i32,
    /// The version of the mapping that read the payload.
    pub mapping_version: i32,
}

/// The number of readings of the payload with the same state, status and code.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize)]
pub struct ReadingCount {
    /// `current`, `superseded` by another version, `duplicate` of another item, or `withdrawn` by a replay.
    pub state: String,
    /// The state of the observation.
    pub status: String,
    /// The code system.
    pub code_system: String,
    /// The code; for a panel, the code of the panel.
    pub code: String,
    /// The display text of the code.
    pub display: Option<String>,
    /// The number of readings.
    pub readings: i64,
}

/// The number of refused items of the payload with the same stage, reason and state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetterCount {
    /// The stage that refused the items: `normalizer` or `sink`.
    pub stage: String,
    /// Why the items were refused.
    pub reason: String,
    /// The state of the dead letters: `open`, `redriven`, `resolved` or `discarded`.
    pub state: String,
    /// The number of items.
    pub items: i64,
}

/// The state of dead letters whose items are accepted now.
const RESOLVED: &str = "resolved";

/// How much of a payload has reached the database. The size of this value does not depend on the size of the payload.
pub struct Progress {
    /// The outcome, which says how much is expected; `None` until the sink has stored it.
    pub outcome: Option<TracedOutcome>,
    /// The readings in the database.
    pub readings: Vec<ReadingCount>,
    /// The items that were refused.
    pub dead_letters: Vec<DeadLetterCount>,
    /// The verdict on a device command.
    pub verdict: Option<Verdict>,
    /// The number of items that have at least one reading in the database that is not withdrawn. An item has several rows if a later content of its
    /// reading came from the same payload.
    items_stored: i64,
}

impl Progress {
    /// Reads the progress from the database.
    ///
    /// # Errors
    /// Postgres is unavailable.
    pub async fn load(connection: &mut PgConnection, position: &ItemPosition) -> Result<Self, sqlx::Error> {
        Ok(Self {
            outcome: outcome(connection, position).await?,
            readings: reading_counts(connection, position).await?,
            dead_letters: dead_letter_counts(connection, position).await?,
            verdict: verdict(connection, position).await?,
            items_stored: items_stored(connection, position).await?,
        })
    }

    /// Returns whether everything that the outcome announces is in the database. The events of a payload arrive there in any order.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let Some(outcome) = self.outcome else { return false };
        let refused = |stage: &str| -> i64 {
            let refused = self.dead_letters.iter().filter(|count| count.stage == stage && count.state != RESOLVED);
            refused.map(|count| count.items).sum()
        };
        self.items_stored + refused("sink") >= i64::from(outcome.readings)
            && refused("normalizer") >= i64::from(outcome.rejections)
            && i64::from(self.verdict.is_some()) >= i64::from(outcome.commands)
    }
}

/// The items of a payload with a reading in the database, as `found`, each with the status and code of its version; a duplicate and a
/// withdrawn delivery have those of the row that represents the reading. Parameters: epoch, partition, offset, topic code. An earlier
/// version with the same raw position and item as the current row is left out, because the current row already represents the item.
/// Each withdrawn delivery is in `reading_duplicates`, also if its row is stored.
const FOUND: &str = "WITH found AS (
    SELECT reading_id, content, item, 'current' AS state, status, coding_id FROM readings
    WHERE raw_offset = $3 AND raw_partition = $2 AND topic_epoch = $1 AND topic_code = $4 AND withdrawn IS NOT TRUE
    UNION ALL
    SELECT d.reading_id, r.content, d.item, CASE WHEN d.withdrawn_mapping IS NULL THEN 'duplicate' ELSE 'withdrawn' END, r.status,
           r.coding_id
    FROM reading_duplicates d
    JOIN readings r USING (reading_id)
    WHERE d.raw_offset = $3 AND d.raw_partition = $2 AND d.topic_epoch = $1 AND d.topic_code = $4
    UNION ALL
    SELECT v.reading_id, v.content, v.item, 'superseded', v.status, v.coding_id FROM reading_versions v
    WHERE v.raw_offset = $3 AND v.raw_partition = $2 AND v.topic_epoch = $1 AND v.topic_code = $4 AND v.withdrawn IS NOT TRUE
      AND NOT EXISTS (SELECT FROM readings r
                      WHERE r.reading_id = v.reading_id
                        AND (r.topic_code, r.topic_epoch, r.raw_partition, r.raw_offset, r.item)
                            = (v.topic_code, v.topic_epoch, v.raw_partition, v.raw_offset, v.item)))";

fn keys(position: &ItemPosition) -> (i32, i32, i64) {
    (i32::from(position.topic_epoch), position.partition, position.offset)
}

async fn reading_counts(
    connection: &mut PgConnection,
    position: &ItemPosition,
) -> Result<Vec<ReadingCount>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    let query = format!(
        "{FOUND}
         SELECT f.state, f.status::text, k.system AS code_system, k.code, k.display, count(*) AS readings
         FROM found f JOIN codings k USING (coding_id)
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

async fn items_stored(connection: &mut PgConnection, position: &ItemPosition) -> Result<i64, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    sqlx::query_scalar(&format!("{FOUND} SELECT count(DISTINCT item) FROM found WHERE state <> 'withdrawn'"))
        .bind(epoch)
        .bind(partition)
        .bind(offset)
        .bind(topic_code(position.topic))
        .fetch_one(connection)
        .await
}

async fn dead_letter_counts(
    connection: &mut PgConnection,
    position: &ItemPosition,
) -> Result<Vec<DeadLetterCount>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    sqlx::query_as!(
        DeadLetterCount,
        "SELECT stage, reason, state, sum(item_count) AS \"items!\" FROM dead_letters \
         WHERE raw_offset = $3 AND raw_partition = $2 AND topic_epoch = $1 AND raw_topic = $4 \
         GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3",
        epoch,
        partition,
        offset,
        position.topic.as_str()
    )
    .fetch_all(connection)
    .await
}

async fn outcome(connection: &mut PgConnection, position: &ItemPosition) -> Result<Option<TracedOutcome>, sqlx::Error> {
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

async fn verdict(connection: &mut PgConnection, position: &ItemPosition) -> Result<Option<Verdict>, sqlx::Error> {
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

/// The next offset that the sinks read in one partition of an event topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextOffset {
    /// The full name of the topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record that a sink reads.
    pub next_offset: i64,
}

/// Returns the next offsets of the sinks, ordered by topic and partition.
///
/// # Errors
/// Postgres is unavailable.
pub async fn next_offsets(connection: &mut PgConnection) -> Result<Vec<NextOffset>, sqlx::Error> {
    let query =
        sqlx::query_as!(NextOffset, "SELECT topic, partition, next_offset FROM sink_offsets ORDER BY topic, partition");
    query.fetch_all(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(stage: &str, state: &str, items: i64) -> DeadLetterCount {
        DeadLetterCount { stage: stage.to_owned(), reason: "out-of-range".to_owned(), state: state.to_owned(), items }
    }

    fn is_complete(items_stored: i64, dead_letters: Vec<DeadLetterCount>) -> bool {
        let outcome = TracedOutcome { items: 5, readings: 4, commands: 0, rejections: 1, mapping_version: 1 };
        Progress { outcome: Some(outcome), readings: Vec::new(), dead_letters, verdict: None, items_stored }
            .is_complete()
    }

    #[test]
    fn an_item_that_a_stage_refused_is_not_awaited() {
        let of_normalizer = || refused("normalizer", "open", 1);
        assert!(is_complete(4, vec![of_normalizer()]));
        assert!(is_complete(1, vec![of_normalizer(), refused("sink", "open", 2), refused("sink", "discarded", 1)]));
        assert!(!is_complete(1, vec![of_normalizer(), refused("sink", "open", 2)]));
        assert!(
            !is_complete(3, vec![of_normalizer(), refused("sink", "resolved", 1)]),
            "its reading is not stored yet"
        );
        assert!(!is_complete(4, vec![]), "the dead letter is not stored yet");
    }
}
