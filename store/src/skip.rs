//! Records of event topics that an operator wants to be stepped over, and gaps that he accepts.
//!
//! A skip is a wish in a table: only the sink that waits in front of the record carries it out, in the transaction that moves
//! its offset. One that names a record which can be read stays without effect.

use sqlx::{Connection as _, PgConnection};

/// A record of an event topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPosition<'t> {
    /// The topic's full name.
    pub topic: &'t str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What a wish came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested {
    /// It stands.
    Wished,
    /// It stood before.
    Before,
    /// The record is behind the sinks: they read this one next.
    Passed(i64),
    /// No sink was ever given this partition.
    Unknown,
}

/// Wishes that the record be stepped over. The same may be wished again after it was done: where the sinks are not past the record
/// then, it is one of a topic that was made anew.
///
/// # Errors
/// Postgres is away, or is not migrated.
pub async fn request(
    connection: &mut PgConnection,
    record: EventPosition<'_>,
    reason: &str,
) -> Result<Requested, sqlx::Error> {
    let row = sqlx::query!(
        "WITH place AS (SELECT next_offset FROM sink_offsets WHERE topic = $1 AND partition = $2), \
         wished AS ( \
             INSERT INTO skips (topic, partition, log_offset, reason) SELECT $1, $2, $3, $4 FROM place WHERE next_offset <= $3 \
             ON CONFLICT (topic, partition, log_offset) DO UPDATE \
             SET reason = excluded.reason, requested_at = excluded.requested_at, done_at = NULL \
             WHERE skips.done_at IS NOT NULL RETURNING 1) \
         SELECT (SELECT next_offset FROM place) AS next, EXISTS (SELECT FROM wished) AS \"is_wished!\"",
        record.topic,
        record.partition,
        record.offset,
        reason
    )
    .fetch_one(connection)
    .await?;
    Ok(match row.next {
        None => Requested::Unknown,
        Some(next) if next > record.offset => Requested::Passed(next),
        Some(_) if row.is_wished => Requested::Wished,
        Some(_) => Requested::Before,
    })
}

/// A partition whose next record is not in its log any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next record to be read, the first that is gone.
    pub from: i64,
    /// Where the log begins.
    pub to: i64,
}

/// Raises the next offset over a gap and records that, or does nothing when the offset is another by now. Whether it did.
///
/// # Errors
/// Postgres is away, or is not migrated.
pub async fn accept(connection: &mut PgConnection, gap: &Gap) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let moved = sqlx::query!(
        "UPDATE sink_offsets SET next_offset = $4 WHERE topic = $1 AND partition = $2 AND next_offset = $3",
        &gap.topic as _,
        gap.partition as _,
        gap.from as _,
        gap.to as _
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if moved == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "INSERT INTO accepted_gaps (topic, partition, from_offset, to_offset) VALUES ($1, $2, $3, $4)",
        &gap.topic as _,
        gap.partition as _,
        gap.from as _,
        gap.to as _
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}
