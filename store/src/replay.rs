//! What the database contains about a range of raw records; for the comparison of a replay.

use schemas::format::RawTopic;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::topic_code;

/// A range of offsets of a partition of a raw topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRange {
    /// The raw topic.
    pub topic: RawTopic,
    /// The epoch of the raw topic.
    pub topic_epoch: u16,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub first: i64,
    /// The offset after the last one.
    pub end: i64,
}

/// Consecutive items of a raw record that were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRefusal {
    /// The offset of the raw record.
    pub offset: i64,
    /// The first item; -1 for the whole payload.
    pub item: i32,
    /// The number of items.
    pub item_count: i32,
    /// The stage that refused them.
    pub stage: String,
    /// Why they were refused.
    pub reason: String,
}

/// A current reading, and the item of a raw record from which its row was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredAt {
    /// The reading.
    pub reading_id: Uuid,
    /// The offset of the raw record.
    pub offset: i64,
}

/// An interval in which a patient holds a device, in microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The device.
    pub device_key: Uuid,
    /// The start.
    pub from: Option<i64>,
    /// The exclusive end.
    pub until: Option<i64>,
}

impl Holding {
    /// Returns whether the interval contains a time of measurement, in microseconds since the epoch.
    #[must_use]
    pub fn covers(&self, measured_from: Option<i64>) -> bool {
        measured_from
            .is_some_and(|at| self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until))
    }
}

/// Returns the end of the part of a range, from its first offset on, for which outcomes are stored. What is after it is still on its
/// way through the stages.
///
/// # Errors
/// Postgres is unavailable.
pub async fn stored_until(connection: &mut PgConnection, range: &RawRange) -> Result<i64, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT min(o.first_offset) AS first, \
             min(o.last_offset) FILTER (WHERE o.following IS NULL OR o.following > o.last_offset + 1) AS last \
         FROM (SELECT first_offset, last_offset, lead(first_offset) OVER (ORDER BY first_offset) AS following \
               FROM outcomes \
               WHERE topic = $1 AND topic_epoch = $2 AND raw_partition = $3 AND last_offset >= $4 AND first_offset < $5) o",
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_one(connection)
    .await?;
    Ok(match (row.first, row.last) {
        (Some(first), Some(last)) if first <= range.first => (last + 1).min(range.end),
        _ => range.first,
    })
}

/// Returns the items of a range that were refused, ordered by offset and item.
///
/// # Errors
/// Postgres is unavailable.
pub async fn refusals(connection: &mut PgConnection, range: &RawRange) -> Result<Vec<StoredRefusal>, sqlx::Error> {
    sqlx::query_as!(
        StoredRefusal,
        "SELECT raw_offset AS \"offset!\", item, item_count, stage, reason FROM dead_letters \
         WHERE raw_topic = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5 \
         ORDER BY raw_offset, item, stage",
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_all(connection)
    .await
}

/// Returns the current readings whose rows were made from raw records of a range.
///
/// # Errors
/// Postgres is unavailable.
pub async fn readings_of(connection: &mut PgConnection, range: &RawRange) -> Result<Vec<StoredAt>, sqlx::Error> {
    sqlx::query_as!(
        StoredAt,
        "SELECT reading_id, raw_offset AS \"offset\" FROM readings \
         WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5",
        topic_code(range.topic),
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_all(connection)
    .await
}

/// Returns the intervals in which a patient holds devices.
///
/// # Errors
/// Postgres is unavailable.
pub async fn holdings_of(connection: &mut PgConnection, patient_id: &str) -> Result<Vec<Holding>, sqlx::Error> {
    sqlx::query_as!(
        Holding,
        "SELECT device_key, (extract(epoch FROM lower(during)) * 1000000)::bigint AS \"from\", \
             (extract(epoch FROM upper(during)) * 1000000)::bigint AS until \
         FROM device_assignments WHERE patient_id = $1",
        patient_id
    )
    .fetch_all(connection)
    .await
}
