//! Writes outcomes, as runs of raw records with the same outcome.

use std::collections::BTreeMap;

use schemas::{event::Outcome, format::RawTopic};
use sqlx::PgConnection;

use super::drift;
use crate::{
    item::{Body, Item},
    ranges::{Ending, Run, merge},
};

type RawPartition = (RawTopic, i32, i32);

/// Writes the outcomes among the items, and counts the unknown shapes of those that are new.
pub(super) async fn write(connection: &mut PgConnection, items: &[Item]) -> Result<(), sqlx::Error> {
    let mut all: BTreeMap<RawPartition, BTreeMap<i64, &Outcome>> = BTreeMap::new();
    for item in items {
        if let Body::Outcome(outcome) = &item.body {
            let place = (outcome.topic, outcome.topic_epoch, outcome.partition);
            all.entry(place)
                .or_default()
                .entry(outcome.offset)
                .and_modify(|known| {
                    if known.mapping_version < outcome.mapping_version {
                        *known = outcome;
                    }
                })
                .or_insert(outcome);
        }
    }
    let mut fresh = Vec::new();
    for (place, outcomes) in &all {
        let endings = outcomes.iter().map(|(offset, outcome)| (*offset, ending(outcome))).collect();
        let stored = runs(connection, *place, &endings).await?;
        let is_new = |outcome: &&Outcome| {
            let at = stored.partition_point(|run| run.last < outcome.offset);
            stored.get(at).is_none_or(|run| run.first > outcome.offset)
        };
        fresh.extend(outcomes.values().copied().filter(|outcome| !outcome.unknown.is_empty()).filter(is_new));
    }
    drift::count(connection, &fresh).await
}

fn ending(outcome: &Outcome) -> Ending {
    Ending {
        items: outcome.items,
        readings: outcome.readings,
        commands: outcome.commands,
        rejections: outcome.rejections,
        mapping_version: outcome.mapping_version,
    }
}

/// Adds endings to the runs of a raw partition. Returns the runs that were stored before and that the endings may touch.
async fn runs(
    connection: &mut PgConnection,
    (topic, epoch, partition): RawPartition,
    endings: &BTreeMap<i64, Ending>,
) -> Result<Vec<Run>, sqlx::Error> {
    let (Some((first, _)), Some((last, _))) = (endings.first_key_value(), endings.last_key_value()) else {
        return Ok(Vec::new());
    };
    // Runs grow and split, so only one sink at a time may change those of a raw partition.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('outcomes ' || $1 || ' ' || $2 || ' ' || $3, 0))",
        topic.as_str() as _,
        epoch.to_string() as _,
        partition.to_string() as _
    )
    .execute(&mut *connection)
    .await?;
    // Includes the neighbouring runs, so that runs are joined.
    let rows = sqlx::query!(
        "SELECT first_offset, last_offset, items, readings, commands, rejections, mapping_version FROM outcomes \
         WHERE topic = $1 AND topic_epoch = $2 AND raw_partition = $3 AND first_offset <= $5::bigint + 1 \
             AND first_offset >= coalesce((SELECT max(first_offset) FROM outcomes WHERE topic = $1 AND topic_epoch = $2 \
                 AND raw_partition = $3 AND first_offset <= $4), 0) \
         ORDER BY first_offset",
        topic.as_str(),
        epoch,
        partition,
        first,
        last
    )
    .fetch_all(&mut *connection)
    .await?;
    let stored: Vec<Run> = rows
        .into_iter()
        .map(|row| Run {
            first: row.first_offset,
            last: row.last_offset,
            ending: Ending {
                items: row.items,
                readings: row.readings,
                commands: row.commands,
                rejections: row.rejections,
                mapping_version: row.mapping_version,
            },
        })
        .collect();
    let merged = merge(&stored, endings);
    if merged == stored {
        return Ok(stored);
    }
    sqlx::query!(
        "DELETE FROM outcomes WHERE topic = $1 AND topic_epoch = $2 AND raw_partition = $3 AND first_offset = ANY($4)",
        topic.as_str(),
        epoch,
        partition,
        &stored.iter().map(|run| run.first).collect::<Vec<_>>()
    )
    .execute(&mut *connection)
    .await?;
    insert_runs(connection, (topic, epoch, partition), &merged).await?;
    Ok(stored)
}

async fn insert_runs(
    connection: &mut PgConnection,
    (topic, epoch, partition): RawPartition,
    runs: &[Run],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO outcomes SELECT $1, $2, $3, * FROM unnest($4::bigint[], $5::bigint[], $6::integer[], \
         $7::integer[], $8::integer[], $9::integer[], $10::integer[])",
        topic.as_str() as _,
        epoch as _,
        partition as _,
        runs.iter().map(|run| run.first).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.last).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.ending.items).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.ending.readings).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.ending.commands).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.ending.rejections).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.ending.mapping_version).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}
