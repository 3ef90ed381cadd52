//! Locks by which sinks exclude each other: rows of a table that only the role of the sinks may use. Every role that can connect may take
//! any advisory lock, so a reader could stop all sinks with one.

use std::collections::BTreeSet;

use schemas::format::RawTopic;
use sqlx::PgConnection;

/// A partition of a raw topic: the topic, its epoch and the number.
pub(super) type RawPartition = (RawTopic, i32, i32);

/// What transactions exclude each other from in a raw partition.
#[derive(Clone, Copy)]
pub(super) enum Locked {
    /// The runs of outcomes.
    Outcomes,
    /// The items that normalizers refused, and the outcomes of replays, which resolve them.
    Rejections,
    /// The items that sinks refused, and the readings of replays, which resolve them.
    DeadLetters,
}

/// Whether others may hold a lock at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nobody else holds it.
    Exclusive,
    /// Others may share it.
    Shared,
}

impl Locked {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Outcomes => "outcomes",
            Self::Rejections => "rejections",
            Self::DeadLetters => "dead-letters",
        }
    }
}

/// Waits until no other transaction holds a lock on these partitions that excludes this one, and locks them until the end of this
/// transaction.
pub(super) async fn lock(
    connection: &mut PgConnection,
    locked: Locked,
    mode: Mode,
    partitions: &BTreeSet<RawPartition>,
) -> Result<(), sqlx::Error> {
    if partitions.is_empty() {
        return Ok(());
    }
    let topics: Vec<&str> = partitions.iter().map(|(topic, _, _)| topic.as_str()).collect();
    let epochs: Vec<i32> = partitions.iter().map(|(_, epoch, _)| *epoch).collect();
    let numbers: Vec<i32> = partitions.iter().map(|(_, _, partition)| *partition).collect();
    // Both statements are ordered by key, so that two sinks cannot deadlock.
    match mode {
        Mode::Exclusive => {
            // `ON CONFLICT DO UPDATE` locks an existing row also when its condition is false, and then writes nothing (PostgreSQL
            // documentation, INSERT).
            sqlx::query!(
                "INSERT INTO write_locks AS l (kind, topic, topic_epoch, raw_partition) \
                 SELECT $1, n.topic, n.epoch, n.partition \
                 FROM unnest($2::text[], $3::integer[], $4::integer[]) n(topic, epoch, partition) \
                 ORDER BY n.topic, n.epoch, n.partition \
                 ON CONFLICT (kind, topic, topic_epoch, raw_partition) DO UPDATE SET kind = excluded.kind WHERE false",
                locked.as_str(),
                &topics as _,
                &epochs,
                &numbers
            )
            .execute(connection)
            .await?;
        }
        Mode::Shared => {
            sqlx::query!(
                "INSERT INTO write_locks (kind, topic, topic_epoch, raw_partition) \
                 SELECT $1, n.topic, n.epoch, n.partition \
                 FROM unnest($2::text[], $3::integer[], $4::integer[]) n(topic, epoch, partition) \
                 ORDER BY n.topic, n.epoch, n.partition ON CONFLICT (kind, topic, topic_epoch, raw_partition) DO NOTHING",
                locked.as_str(),
                &topics as _,
                &epochs,
                &numbers
            )
            .execute(&mut *connection)
            .await?;
            sqlx::query!(
                "SELECT l.kind FROM write_locks l \
                 JOIN unnest($2::text[], $3::integer[], $4::integer[]) n(topic, epoch, partition) \
                     ON l.topic = n.topic AND l.topic_epoch = n.epoch AND l.raw_partition = n.partition \
                 WHERE l.kind = $1 ORDER BY l.topic, l.topic_epoch, l.raw_partition FOR SHARE OF l",
                locked.as_str(),
                &topics as _,
                &epochs,
                &numbers
            )
            .fetch_all(connection)
            .await?;
        }
    }
    Ok(())
}
