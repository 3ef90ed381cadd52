//! What Postgres knows of one raw payload; for `device-manager trace`.

use schemas::{format::RawTopic, receipt::Position};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::{topic_code, verdict::Verdict};

/// A row of the view, without its value.
#[derive(Clone)]
pub struct TracedReading {
    /// The reading.
    pub reading_id: Uuid,
    /// The part of a panel, 0 for the reading itself.
    pub component: i32,
    /// Its code.
    pub code: Option<String>,
    /// The code's text.
    pub display: Option<String>,
    /// How the patient is known, or why not.
    pub attribution: String,
    /// The state of the observation.
    pub status: String,
    /// The item within the payload.
    pub item: i32,
    /// `current`, `superseded` by another version, or `duplicate` of another item.
    pub state: String,
}

/// A dead letter of the payload.
#[derive(Clone)]
pub struct TracedLetter {
    /// The first item, -1 for the whole payload.
    pub item: i32,
    /// How many items in a row.
    pub item_count: i32,
    /// Who refused.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// What exactly.
    pub detail: String,
}

impl TracedLetter {
    /// Whether the letter is about this item; one about the whole payload is about each.
    #[must_use]
    pub fn covers(&self, item: i32) -> bool {
        self.item < 0 || (self.item..self.item.saturating_add(self.item_count)).contains(&item)
    }
}

/// The outcome of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

fn keys(position: &Position) -> (i32, i32, i64) {
    (i32::from(position.topic_epoch), position.partition, position.offset)
}

/// The readings that came of a payload, also where another item's row stands for them.
///
/// # Errors
/// Postgres is away.
pub async fn readings(connection: &mut PgConnection, position: &Position) -> Result<Vec<TracedReading>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    let rows = sqlx::query(
        "WITH found AS (
             SELECT reading_id, item, 'current' AS state FROM readings
             WHERE raw_offset = $3 AND raw_partition = $2 AND topic_epoch = $1 AND topic_code = $4
             UNION ALL
             SELECT d.reading_id, d.item, 'duplicate' FROM reading_duplicates d
             WHERE d.raw_offset = $3 AND d.raw_partition = $2 AND d.topic_epoch = $1 AND d.topic_code = $4
             UNION ALL
             SELECT v.reading_id, v.item, 'superseded' FROM reading_versions v
             WHERE v.raw_offset = $3 AND v.raw_partition = $2 AND v.topic_epoch = $1 AND v.topic_code = $4)
         SELECT f.reading_id, a.component, a.code, a.display, a.attribution, a.status, f.item, f.state
         FROM found f JOIN attributed_readings a USING (reading_id) ORDER BY f.item, f.state, a.component",
    )
    .bind(epoch)
    .bind(partition)
    .bind(offset)
    .bind(topic_code(position.topic))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(TracedReading {
                reading_id: row.try_get(0)?,
                component: row.try_get(1)?,
                code: row.try_get(2)?,
                display: row.try_get(3)?,
                attribution: row.try_get(4)?,
                status: row.try_get(5)?,
                item: row.try_get(6)?,
                state: row.try_get(7)?,
            })
        })
        .collect()
}

/// The dead letters of a payload.
///
/// # Errors
/// Postgres is away.
pub async fn letters(connection: &mut PgConnection, position: &Position) -> Result<Vec<TracedLetter>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    let rows = sqlx::query(
        "SELECT item, item_count, stage, reason, detail FROM dead_letters \
         WHERE raw_offset = $3 AND raw_partition = $2 AND topic_epoch = $1 AND raw_topic = $4 ORDER BY item, stage",
    )
    .bind(epoch)
    .bind(partition)
    .bind(offset)
    .bind(position.topic.as_str())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(TracedLetter {
                item: row.try_get(0)?,
                item_count: row.try_get(1)?,
                stage: row.try_get(2)?,
                reason: row.try_get(3)?,
                detail: row.try_get(4)?,
            })
        })
        .collect()
}

/// The outcome of a payload; none while the sink has not seen it.
///
/// # Errors
/// Postgres is away.
pub async fn outcome(connection: &mut PgConnection, position: &Position) -> Result<Option<TracedOutcome>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    let row = sqlx::query(
        "SELECT items, readings, commands, rejections, mapping_version FROM outcomes \
         WHERE topic = $4 AND topic_epoch = $1 AND raw_partition = $2 AND first_offset <= $3 AND last_offset >= $3",
    )
    .bind(epoch)
    .bind(partition)
    .bind(offset)
    .bind(position.topic.as_str())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(TracedOutcome {
            items: row.try_get(0)?,
            readings: row.try_get(1)?,
            commands: row.try_get(2)?,
            rejections: row.try_get(3)?,
            mapping_version: row.try_get(4)?,
        })
    })
    .transpose()
}

/// The verdict on a device command, where the payload is one.
///
/// # Errors
/// Postgres is away.
pub async fn verdict(connection: &mut PgConnection, position: &Position) -> Result<Option<String>, sqlx::Error> {
    let (epoch, partition, offset) = keys(position);
    if position.topic != RawTopic::Devices {
        return Ok(None);
    }
    let verdict: Option<Option<String>> = sqlx::query_scalar(
        "SELECT verdict FROM device_commands WHERE topic_epoch = $1 AND raw_partition = $2 AND raw_offset = $3 \
         UNION ALL \
         (SELECT $4 FROM excess_commands \
          WHERE topic_epoch = $1 AND raw_partition = $2 AND first_offset <= $3 AND last_offset >= $3 LIMIT 1)",
    )
    .bind(epoch)
    .bind(partition)
    .bind(offset)
    .bind(Verdict::TooManyCommands.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(verdict.flatten())
}

/// The next offset the sink will read, by topic and partition.
///
/// # Errors
/// Postgres is away.
pub async fn next_offsets(connection: &mut PgConnection) -> Result<Vec<(String, i32, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT topic, partition, next_offset FROM sink_offsets ORDER BY topic, partition")
        .fetch_all(connection)
        .await
}
