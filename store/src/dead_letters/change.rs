//! Changes the state of dead letters for an operator.

use std::collections::BTreeSet;

use schemas::{dead_letter::Stage, format::RawTopic, receipt::RawPosition};
use sqlx::PgConnection;

use super::LetterId;

/// Marks dead letters that are open as redriven by an operator.
///
/// # Errors
/// Postgres is unavailable.
pub async fn mark_redriven(connection: &mut PgConnection, ids: &[LetterId], operator: &str) -> Result<(), sqlx::Error> {
    let keys = Keys::of(ids);
    sqlx::query!(
        "UPDATE dead_letters l SET state = 'redriven', state_at = now(), state_by = $7, state_reason = NULL \
         FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::integer[], $6::text[]) \
             n(topic, epoch, partition, log_offset, item, stage) \
         WHERE l.origin_topic = n.topic AND l.topic_epoch = n.epoch AND l.origin_partition = n.partition \
             AND l.origin_offset = n.log_offset AND l.item = n.item AND l.stage = n.stage AND l.state IN ('open', 'redriven')",
        &keys.topics as _,
        &keys.epochs,
        &keys.partitions,
        &keys.offsets,
        &keys.items,
        &keys.stages as _,
        operator
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the redrive of raw records, after the sinks have stored what it published.
///
/// The event of a device command does not name its replay, so that the sinks cannot know what became of a refused one: it is resolved
/// if the command is stored now, and dead letters that say the same again are removed. The dead letters about which the replay has
/// published nothing, such as those of uploads without an end, are open again, and the attempt counts. It does not count for records
/// that no longer exist, the second ones.
///
/// # Errors
/// Postgres is unavailable.
pub async fn end_redrive(
    connection: &mut PgConnection,
    (records, gone): (&BTreeSet<RawPosition>, &BTreeSet<RawPosition>),
    (replay, operator): (i32, &str),
) -> Result<(), sqlx::Error> {
    let all = || records.iter().chain(gone);
    let (mapped, every) = (Positions::of(records.iter()), Positions::of(all()));
    let mut transaction = sqlx::Connection::begin(connection).await?;
    sqlx::query!(
        "UPDATE dead_letters l SET state = 'resolved', state_at = now(), state_by = NULL, state_reason = NULL \
         FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[]) n(topic, epoch, partition, log_offset) \
         WHERE n.topic = $5 AND l.raw_offset = n.log_offset AND l.raw_partition = n.partition AND l.raw_topic = n.topic \
             AND l.topic_epoch = n.epoch AND l.stage = $6 AND l.item < 0 AND l.state IN ('open', 'redriven') \
             AND EXISTS (SELECT FROM device_commands c WHERE c.topic_epoch = n.epoch AND c.raw_partition = n.partition \
                 AND c.raw_offset = n.log_offset)",
        &mapped.topics as _,
        &mapped.epochs,
        &mapped.partitions,
        &mapped.offsets,
        RawTopic::Devices.as_str(),
        Stage::Sink.as_str()
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!(
        "DELETE FROM dead_letters l \
         USING unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[]) n(topic, epoch, partition, log_offset) \
         WHERE n.topic = $5 AND l.raw_offset = n.log_offset AND l.raw_partition = n.partition AND l.raw_topic = n.topic \
             AND l.topic_epoch = n.epoch AND l.stage = $6 AND l.item < 0 AND l.state = 'open' \
             AND EXISTS (SELECT FROM dead_letters o WHERE o.raw_offset = n.log_offset AND o.raw_partition = n.partition \
                 AND o.raw_topic = n.topic AND o.topic_epoch = n.epoch AND o.stage = l.stage AND o.item < 0 AND o.state = 'redriven' \
                 AND o.origin_partition = l.origin_partition AND o.origin_offset < l.origin_offset)",
        &mapped.topics as _,
        &mapped.epochs,
        &mapped.partitions,
        &mapped.offsets,
        RawTopic::Devices.as_str(),
        Stage::Sink.as_str()
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!(
        "UPDATE dead_letters l SET state = 'open', state_at = now(), state_by = $5, \
             attempts = CASE WHEN is_attempt AND l.replay < $6 THEN attempts + 1 ELSE attempts END, \
             last_attempt_at = CASE WHEN is_attempt AND l.replay < $6 THEN now() ELSE last_attempt_at END, \
             replay = CASE WHEN is_attempt THEN $6 ELSE l.replay END \
         FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $7::boolean[]) \
             n(topic, epoch, partition, log_offset, is_attempt) \
         WHERE l.raw_offset = n.log_offset AND l.raw_partition = n.partition AND l.raw_topic = n.topic AND l.topic_epoch = n.epoch \
             AND l.state = 'redriven' AND l.replay <= $6",
        &every.topics as _,
        &every.epochs,
        &every.partitions,
        &every.offsets,
        operator,
        replay,
        &all().map(|raw| !gone.contains(raw)).collect::<Vec<_>>()
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// The parts of raw positions, one list for each.
struct Positions {
    topics: Vec<&'static str>,
    epochs: Vec<i32>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
}

impl Positions {
    fn of<'p>(positions: impl Iterator<Item = &'p RawPosition> + Clone) -> Self {
        Self {
            topics: positions.clone().map(|raw| raw.topic.as_str()).collect(),
            epochs: positions.clone().map(|raw| raw.topic_epoch).collect(),
            partitions: positions.clone().map(|raw| raw.partition).collect(),
            offsets: positions.map(|raw| raw.offset).collect(),
        }
    }
}

/// The parts of ids, one list for each.
struct Keys<'i> {
    topics: Vec<&'i str>,
    epochs: Vec<i32>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    items: Vec<i32>,
    stages: Vec<&'i str>,
}

impl<'i> Keys<'i> {
    fn of(ids: &'i [LetterId]) -> Self {
        Self {
            topics: ids.iter().map(|id| id.topic.as_str()).collect(),
            epochs: ids.iter().map(|id| id.topic_epoch).collect(),
            partitions: ids.iter().map(|id| id.partition).collect(),
            offsets: ids.iter().map(|id| id.offset).collect(),
            items: ids.iter().map(|id| id.item).collect(),
            stages: ids.iter().map(|id| id.stage.as_str()).collect(),
        }
    }
}

/// Discards dead letters that are open or redriven. Returns how many that were; if one of them is neither any more, nothing is
/// changed.
///
/// # Errors
/// Postgres is unavailable.
pub async fn discard(
    connection: &mut PgConnection,
    ids: &[LetterId],
    operator: &str,
    reason: &str,
) -> Result<u64, sqlx::Error> {
    let mut transaction = sqlx::Connection::begin(connection).await?;
    let mut discarded = 0;
    for id in ids {
        discarded += sqlx::query!(
            "UPDATE dead_letters SET state = 'discarded', state_at = now(), state_by = $7, state_reason = $8 \
             WHERE origin_topic = $1 AND topic_epoch = $2 AND origin_partition = $3 AND origin_offset = $4 AND item = $5 AND stage = $6 \
                 AND state IN ('open', 'redriven')",
            id.topic,
            id.topic_epoch,
            id.partition,
            id.offset,
            id.item,
            id.stage,
            operator,
            reason
        )
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    }
    if discarded == ids.len() as u64 {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(discarded)
}
