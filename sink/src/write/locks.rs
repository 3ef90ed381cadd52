//! Locks by which sinks exclude each other: rows of a table that only the role of the sinks may use. Every role that can connect may take
//! any advisory lock, so a reader could stop all sinks with one.

use std::collections::BTreeSet;

use schemas::format::RawTopic;
use sqlx::PgConnection;

/// A partition of a raw topic: the topic, its epoch and the number.
pub(super) type RawPartition = (RawTopic, i32, i32);

/// What only one transaction at a time may change in a raw partition.
#[derive(Clone, Copy)]
pub(super) enum Locked {
    /// The runs of outcomes.
    Outcomes,
    /// The lists of items that sinks refused.
    DeadLetters,
}

impl Locked {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Outcomes => "outcomes",
            Self::DeadLetters => "dead-letters",
        }
    }
}

/// Waits until no other transaction holds a lock on these partitions, and locks them until the end of this transaction.
pub(super) async fn lock(
    connection: &mut PgConnection,
    locked: Locked,
    partitions: &BTreeSet<RawPartition>,
) -> Result<(), sqlx::Error> {
    if partitions.is_empty() {
        return Ok(());
    }
    // `ON CONFLICT DO UPDATE` locks an existing row also when its condition is false, and then writes nothing (PostgreSQL
    // documentation, INSERT). Ordered by key, so that two sinks cannot deadlock.
    sqlx::query!(
        "INSERT INTO write_locks AS l (kind, topic, topic_epoch, raw_partition) \
         SELECT $1, n.topic, n.epoch, n.partition FROM unnest($2::text[], $3::integer[], $4::integer[]) n(topic, epoch, partition) \
         ORDER BY n.topic, n.epoch, n.partition \
         ON CONFLICT (kind, topic, topic_epoch, raw_partition) DO UPDATE SET kind = excluded.kind WHERE false",
        locked.as_str(),
        partitions.iter().map(|(topic, _, _)| topic.as_str()).collect::<Vec<_>>() as _,
        &partitions.iter().map(|(_, epoch, _)| *epoch).collect::<Vec<_>>(),
        &partitions.iter().map(|(_, _, partition)| *partition).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(())
}
