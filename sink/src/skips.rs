//! Records that operators have asked to skip (`store::skip`): how the sink reads and settles these requests.

use std::collections::BTreeMap;

use schemas::{rejection::Reason, topic::Topics};
use sqlx::PgConnection;

use crate::item::{Body, EventTopic, Item, Partition};

/// The pending skips of these partitions, with the operator's reasons.
pub(crate) async fn pending(
    connection: &mut PgConnection,
    topics: &Topics,
    partitions: &[Partition],
) -> Result<BTreeMap<(Partition, i64), String>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT topic, partition, log_offset, reason FROM skips \
         JOIN unnest($1::text[], $2::integer[]) n(topic, partition) USING (topic, partition) WHERE done_at IS NULL",
        &partitions.iter().map(|partition| partition.topic.full_name(topics)).collect::<Vec<_>>(),
        &partitions.iter().map(|partition| partition.number).collect::<Vec<_>>()
    )
    .fetch_all(connection)
    .await?;
    let partition = |name: &str, number| {
        let topic = EventTopic::ALL.into_iter().find(|topic| topic.full_name(topics) == name)?;
        Some(Partition { topic, number })
    };
    Ok(rows
        .into_iter()
        .filter_map(|row| Some(((partition(&row.topic, row.partition)?, row.log_offset), row.reason)))
        .collect())
}

/// Marks the skips of the items that were skipped as done.
pub(crate) async fn settle(connection: &mut PgConnection, items: &[Item]) -> Result<(), sqlx::Error> {
    for item in items {
        let Body::Refused(letter) = &item.body else { continue };
        if letter.reason != Reason::Skipped {
            continue;
        }
        sqlx::query!(
            "UPDATE skips SET done_at = now() \
             WHERE topic = $1 AND partition = $2 AND log_offset = $3 AND done_at IS NULL",
            &letter.origin_topic as _,
            letter.origin_partition as _,
            letter.origin_offset as _
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
