//! The next offsets in Postgres. Only a sink that knows their current values may advance them.

use std::collections::HashMap;

use schemas::topic::Topics;
use sqlx::PgConnection;

use crate::{
    batch::Fence,
    item::{EventTopic, Partition},
};

/// Advances the offsets. Returns false if one of them is not the value that this sink expects.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    topics: &Topics,
    fence: &[Fence],
) -> Result<bool, sqlx::Error> {
    if fence.is_empty() {
        return Ok(true);
    }
    let mut fence = fence.to_vec();
    fence.sort_by_key(|fence| fence.partition);
    let names: Vec<String> = fence.iter().map(|fence| fence.partition.topic.full_name(topics)).collect();
    let partitions: Vec<i32> = fence.iter().map(|fence| fence.partition.number).collect();
    let expected: Vec<i64> = fence.iter().map(|fence| fence.expected).collect();
    let next: Vec<i64> = fence.iter().map(|fence| fence.next).collect();
    let moved = sqlx::query!(
        "UPDATE sink_offsets o SET next_offset = n.next \
         FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) n(topic, partition, expected, next) \
         WHERE o.topic = n.topic AND o.partition = n.partition AND o.next_offset = n.expected AND n.next <> n.expected",
        &names as _,
        &partitions as _,
        &expected as _,
        &next as _
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    let matching = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM sink_offsets o \
         JOIN unnest($1::text[], $2::integer[], $3::bigint[]) n(topic, partition, next) \
         ON o.topic = n.topic AND o.partition = n.partition AND o.next_offset = n.next",
        &names,
        &partitions,
        &next
    )
    .fetch_one(connection)
    .await?;
    let must_move = fence.iter().filter(|fence| fence.next != fence.expected).count();
    Ok(moved == must_move as u64 && usize::try_from(matching).is_ok_and(|matching| matching == fence.len()))
}

/// Returns the next offsets of partitions. Each is given with the start of its log; a partition that was never read begins
/// there.
pub(crate) async fn load(
    connection: &mut PgConnection,
    topics: &Topics,
    starts: &[(Partition, i64)],
) -> Result<HashMap<Partition, i64>, sqlx::Error> {
    let names: Vec<String> = starts.iter().map(|(partition, _)| partition.topic.full_name(topics)).collect();
    let partitions: Vec<i32> = starts.iter().map(|(partition, _)| partition.number).collect();
    let begin: Vec<i64> = starts.iter().map(|(_, start)| *start).collect();
    sqlx::query!(
        "INSERT INTO sink_offsets SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[]) ON CONFLICT DO NOTHING",
        &names as _,
        &partitions as _,
        &begin as _
    )
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query!(
        "SELECT o.topic, o.partition, o.next_offset FROM sink_offsets o \
         JOIN unnest($1::text[], $2::integer[]) n(topic, partition) USING (topic, partition)",
        &names,
        &partitions
    )
    .fetch_all(connection)
    .await?;
    let mut next = HashMap::new();
    for row in rows {
        if let Some(topic) = EventTopic::ALL.into_iter().find(|topic| topic.full_name(topics) == row.topic) {
            next.insert(Partition { topic, number: row.partition }, row.next_offset);
        }
    }
    Ok(next)
}
