//! Resolves dead letters: a replay has accepted their items.
//!
//! What resolves a dead letter may be stored before it or after it, by another sink. So both sides look for the other one.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{dead_letter::Stage, receipt::RawPosition};
use sqlx::{PgConnection, types::time::OffsetDateTime};
use store::topic_code;

use super::{
    listed,
    ranges::{Divided, Items, split},
    replayed_outcome,
};
use crate::item::{Body, Item};

/// A reading that a replay published and the database accepts.
pub(super) fn accepted(item: &Item) -> Option<Items> {
    let Body::Reading(row) = &item.body else { return None };
    let replay = row.reading.replay.filter(|_| !row.version.withdrawn)?;
    let from = row.version.row;
    let raw = RawPosition {
        topic: from.topic,
        topic_epoch: from.topic_epoch,
        partition: from.partition,
        offset: from.offset,
    };
    let first = i64::from(from.item);
    Some(Items { raw, items: first..first + 1, replay })
}

/// Resolves dead letters of normalizers: the stored outcome of their raw record is that of a later replay. The items that this replay
/// refused again have dead letters with its number.
pub(super) async fn rejections(
    connection: &mut PgConnection,
    items: &[Item],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let records = touched(items);
    if records.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE dead_letters l SET state = 'resolved', state_at = $5, state_by = NULL, state_reason = NULL \
         FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[]) w(topic, epoch, partition, log_offset) \
         CROSS JOIN LATERAL ( \
             SELECT o.last_offset, o.replay FROM outcomes o \
             WHERE o.topic = w.topic AND o.topic_epoch = w.epoch AND o.raw_partition = w.partition AND o.first_offset <= w.log_offset \
             ORDER BY o.first_offset DESC LIMIT 1) o \
         WHERE o.last_offset >= w.log_offset AND l.raw_offset = w.log_offset AND l.raw_partition = w.partition \
             AND l.raw_topic = w.topic AND l.topic_epoch = w.epoch AND l.stage = $6 AND l.replay < o.replay \
             AND l.state <> 'resolved'",
        records.iter().map(|raw| raw.topic.as_str()).collect::<Vec<_>>() as _,
        &records.iter().map(|raw| raw.topic_epoch).collect::<Vec<_>>(),
        &records.iter().map(|raw| raw.partition).collect::<Vec<_>>(),
        &records.iter().map(|raw| raw.offset).collect::<Vec<_>>(),
        now,
        Stage::Normalizer.as_str()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Resolves dead letters of sinks: a reading of a later replay is stored for the item, or a normalizer refused the item in a later
/// replay.
pub(super) async fn refused_by_sinks(
    connection: &mut PgConnection,
    items: &[Item],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let refused_now = items.iter().filter_map(listed).filter(|row| row.letter.stage == Stage::Normalizer);
    let mut settled: Vec<Items> = items.iter().filter_map(accepted).collect();
    settled.extend(refused_now.filter_map(|row| row.of_record()).filter(|of| of.replay > 0 && of.items.start >= 0));
    settled.extend(settled_before(connection, &touched(items)).await?);
    let settled = joined(settled);
    if settled.is_empty() {
        return Ok(());
    }
    split(connection, Stage::Sink, Divided::Unresolved, &settled).await?;
    sqlx::query!(
        "UPDATE dead_letters l SET state = 'resolved', state_at = $8, state_by = NULL, state_reason = NULL \
         FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[]) \
             w(topic, epoch, partition, log_offset, first, behind, replay) \
         WHERE l.raw_offset = w.log_offset AND l.raw_partition = w.partition AND l.raw_topic = w.topic AND l.topic_epoch = w.epoch \
             AND l.stage = $9 AND l.item >= w.first AND l.item::bigint + l.item_count <= w.behind AND l.replay < w.replay \
             AND l.state <> 'resolved'",
        settled.iter().map(|of| of.raw.topic.as_str()).collect::<Vec<_>>() as _,
        &settled.iter().map(|of| of.raw.topic_epoch).collect::<Vec<_>>(),
        &settled.iter().map(|of| of.raw.partition).collect::<Vec<_>>(),
        &settled.iter().map(|of| of.raw.offset).collect::<Vec<_>>(),
        &settled.iter().map(|of| of.items.start).collect::<Vec<_>>(),
        &settled.iter().map(|of| of.items.end).collect::<Vec<_>>(),
        &settled.iter().map(|of| of.replay).collect::<Vec<_>>(),
        now,
        Stage::Sink.as_str()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The raw records of the dead letters and of the replays' outcomes among the items.
fn touched(items: &[Item]) -> BTreeSet<RawPosition> {
    let outcomes = items.iter().filter_map(replayed_outcome).map(|outcome| RawPosition {
        topic: outcome.topic,
        topic_epoch: outcome.topic_epoch,
        partition: outcome.partition,
        offset: outcome.offset,
    });
    outcomes.chain(items.iter().filter_map(listed).filter_map(|row| row.raw)).collect()
}

/// Returns the items with an unresolved dead letter of a sink that are settled by what is stored: the outcome of the record is that of a
/// later replay, and the item has a reading of a later replay, is a duplicate, or has a dead letter of a normalizer of a later replay.
async fn settled_before(
    connection: &mut PgConnection,
    records: &BTreeSet<RawPosition>,
) -> Result<Vec<Items>, sqlx::Error> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let records: Vec<RawPosition> = records.iter().copied().collect();
    let rows = sqlx::query!(
        "WITH refused AS MATERIALIZED ( \
             SELECT w.*, l.item, l.item::bigint + l.item_count AS behind, l.replay AS refused_by, o.replay \
             FROM unnest($1::text[], $2::smallint[], $3::integer[], $4::integer[], $5::bigint[]) \
                 WITH ORDINALITY w(topic, code, epoch, partition, log_offset, number) \
             CROSS JOIN LATERAL ( \
                 SELECT o.last_offset, o.replay FROM outcomes o \
                 WHERE o.topic = w.topic AND o.topic_epoch = w.epoch AND o.raw_partition = w.partition \
                     AND o.first_offset <= w.log_offset \
                 ORDER BY o.first_offset DESC LIMIT 1) o \
             JOIN dead_letters l ON l.raw_offset = w.log_offset AND l.raw_partition = w.partition AND l.raw_topic = w.topic \
                 AND l.topic_epoch = w.epoch \
             WHERE o.last_offset >= w.log_offset AND l.stage = $6 AND l.item >= 0 AND l.replay < o.replay AND l.state <> 'resolved') \
         SELECT f.number AS \"number!\", s.first::bigint AS \"first!\", s.behind AS \"behind!\", f.replay AS \"replay!\" FROM refused f \
         CROSS JOIN LATERAL ( \
             SELECT r.item AS first, r.item::bigint + 1 AS behind FROM readings r \
             WHERE r.raw_offset = f.log_offset AND r.raw_partition = f.partition AND r.topic_epoch = f.epoch AND r.topic_code = f.code \
                 AND r.item >= f.item AND r.item < f.behind AND r.replay > f.refused_by AND r.withdrawn IS NOT TRUE \
             UNION ALL \
             SELECT v.item, v.item::bigint + 1 FROM reading_versions v \
             WHERE v.raw_offset = f.log_offset AND v.raw_partition = f.partition AND v.topic_epoch = f.epoch AND v.topic_code = f.code \
                 AND v.item >= f.item AND v.item < f.behind AND v.replay > f.refused_by AND v.withdrawn IS NOT TRUE \
             UNION ALL \
             SELECT d.item, d.item::bigint + 1 FROM reading_duplicates d \
             WHERE d.raw_offset = f.log_offset AND d.raw_partition = f.partition AND d.topic_epoch = f.epoch AND d.topic_code = f.code \
                 AND d.item >= f.item AND d.item < f.behind AND d.withdrawn_mapping IS NULL \
             UNION ALL \
             SELECT n.item, n.item::bigint + n.item_count FROM dead_letters n \
             WHERE n.raw_offset = f.log_offset AND n.raw_partition = f.partition AND n.raw_topic = f.topic AND n.topic_epoch = f.epoch \
                 AND n.stage = $7 AND n.item >= 0 AND n.replay > f.refused_by) s",
        records.iter().map(|raw| raw.topic.as_str()).collect::<Vec<_>>() as _,
        &records.iter().map(|raw| topic_code(raw.topic)).collect::<Vec<_>>(),
        &records.iter().map(|raw| raw.topic_epoch).collect::<Vec<_>>(),
        &records.iter().map(|raw| raw.partition).collect::<Vec<_>>(),
        &records.iter().map(|raw| raw.offset).collect::<Vec<_>>(),
        Stage::Sink.as_str(),
        Stage::Normalizer.as_str()
    )
    .fetch_all(connection)
    .await?;
    let at = |number: i64| usize::try_from(number - 1).ok().and_then(|index| records.get(index));
    Ok(rows
        .into_iter()
        .filter_map(|row| Some(Items { raw: *at(row.number)?, items: row.first..row.behind, replay: row.replay }))
        .collect())
}

/// Joins adjacent items of a record and a replay.
fn joined(items: Vec<Items>) -> Vec<Items> {
    let mut of_records: BTreeMap<(RawPosition, i32), BTreeMap<i64, i64>> = BTreeMap::new();
    for Items { raw, items, replay } in items {
        let behind = of_records.entry((raw, replay)).or_default().entry(items.start).or_insert(items.end);
        *behind = items.end.max(*behind);
    }
    let mut joined: Vec<Items> = Vec::new();
    for ((raw, replay), ranges) in of_records {
        for (first, behind) in ranges {
            match joined.last_mut() {
                Some(last) if last.raw == raw && last.replay == replay && first <= last.items.end => {
                    last.items.end = behind.max(last.items.end);
                }
                Some(_) | None => joined.push(Items { raw, items: first..behind, replay }),
            }
        }
    }
    joined
}
