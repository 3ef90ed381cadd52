//! Records of event topics that an operator asks the sinks to skip, and gaps that the operator accepts.
//!
//! A skip is a request in a table. Only the sink that waits at the record carries it out, in the transaction that advances its next
//! offset. A request for a record that can be read has no effect.

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

/// The result of [`request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested {
    /// The request was stored.
    Recorded,
    /// The same request was stored before.
    AlreadyRecorded,
    /// The sinks are past the record: the next offset that they read is this one.
    AlreadyPassed(i64),
    /// No sink was ever assigned this partition.
    NeverAssigned,
}

/// Requests that a record be skipped. A request that was carried out may be repeated: if the sinks are not past the offset, the
/// topic was created anew, and the record is another one.
///
/// # Errors
/// Postgres is unavailable, or the migrations are not applied.
pub async fn request(
    connection: &mut PgConnection,
    record: EventPosition<'_>,
    reason: &str,
) -> Result<Requested, sqlx::Error> {
    let row = sqlx::query!(
        "WITH stored AS (SELECT next_offset FROM sink_offsets WHERE topic = $1 AND partition = $2), \
         requested AS ( \
             INSERT INTO skips (topic, partition, log_offset, reason) SELECT $1, $2, $3, $4 FROM stored WHERE next_offset <= $3 \
             ON CONFLICT (topic, partition, log_offset) DO UPDATE \
             SET reason = excluded.reason, requested_at = excluded.requested_at, done_at = NULL \
             WHERE skips.done_at IS NOT NULL RETURNING 1) \
         SELECT (SELECT next_offset FROM stored) AS next, EXISTS (SELECT FROM requested) AS \"is_requested!\"",
        record.topic,
        record.partition,
        record.offset,
        reason
    )
    .fetch_one(connection)
    .await?;
    Ok(match row.next {
        None => Requested::NeverAssigned,
        Some(next) if next > record.offset => Requested::AlreadyPassed(next),
        Some(_) if row.is_requested => Requested::Recorded,
        Some(_) => Requested::AlreadyRecorded,
    })
}

/// A gap: the next record of a partition is no longer in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to be read, which is that of the first missing record.
    pub from: i64,
    /// The first offset of the log.
    pub to: i64,
}

/// Advances the next offset over a gap and stores the gap as accepted. Returns false, and changes nothing, when the next offset has
/// changed in the meantime.
///
/// # Errors
/// Postgres is unavailable, or the migrations are not applied.
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
