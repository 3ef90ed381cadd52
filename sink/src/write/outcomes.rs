//! Writes outcomes, as runs of raw records with the same outcome.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{event::Outcome, version::MappedBy};
use sqlx::PgConnection;

use super::{
    drift,
    locks::{self, Locked, Mode, RawPartition},
};
use crate::{
    item::{Body, Item},
    outcome_runs::{RecordOutcome, Run, merge},
};

/// Writes the outcomes among the items, and counts the unknown shapes of those that are new.
pub(super) async fn write(connection: &mut PgConnection, items: &[Item]) -> Result<(), sqlx::Error> {
    let mut all: BTreeMap<RawPartition, BTreeMap<i64, &Outcome>> = BTreeMap::new();
    for item in items {
        if let Body::Outcome(outcome) = &item.body {
            let partition = (outcome.topic, outcome.topic_epoch, outcome.partition);
            all.entry(partition)
                .or_default()
                .entry(outcome.offset)
                .and_modify(|known| {
                    if mapped_by(known) < mapped_by(outcome) {
                        *known = outcome;
                    }
                })
                .or_insert(outcome);
        }
    }
    // Runs grow and split, so only one sink at a time may change those of a raw partition.
    let partitions: BTreeSet<RawPartition> = all.keys().copied().collect();
    locks::lock(&mut *connection, Locked::Outcomes, Mode::Exclusive, &partitions).await?;
    let mut fresh = Vec::new();
    for (partition, outcomes) in &all {
        let record_outcomes = outcomes.iter().map(|(offset, outcome)| (*offset, record_outcome(outcome))).collect();
        let stored = add_to_runs(connection, *partition, &record_outcomes).await?;
        let is_new = |outcome: &&Outcome| {
            let at = stored.partition_point(|run| run.last < outcome.offset);
            stored.get(at).is_none_or(|run| run.first > outcome.offset)
        };
        fresh.extend(outcomes.values().copied().filter(|outcome| !outcome.unknown.is_empty()).filter(is_new));
    }
    drift::count_shapes(connection, &fresh).await
}

fn record_outcome(outcome: &Outcome) -> RecordOutcome {
    RecordOutcome {
        items: outcome.items,
        readings: outcome.readings,
        commands: outcome.commands,
        rejections: outcome.rejections,
        mapped_by: mapped_by(outcome),
    }
}

fn mapped_by(outcome: &Outcome) -> MappedBy {
    MappedBy {
        mapping: outcome.mapping_version,
        catalogue: outcome.catalogue_revision,
        replay: outcome.replay.unwrap_or(0),
    }
}

/// Adds outcomes to the runs of a raw partition. Returns the runs that were stored before and that the outcomes may touch.
async fn add_to_runs(
    connection: &mut PgConnection,
    (topic, epoch, partition): RawPartition,
    outcomes: &BTreeMap<i64, RecordOutcome>,
) -> Result<Vec<Run>, sqlx::Error> {
    let (Some((first, _)), Some((last, _))) = (outcomes.first_key_value(), outcomes.last_key_value()) else {
        return Ok(Vec::new());
    };
    // Includes the neighbouring runs, so that runs are joined.
    let rows = sqlx::query!(
        "SELECT first_offset, last_offset, items, readings, commands, rejections, mapping_version, \
             catalogue_revision, replay FROM outcomes \
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
            outcome: RecordOutcome {
                items: row.items,
                readings: row.readings,
                commands: row.commands,
                rejections: row.rejections,
                mapped_by: MappedBy {
                    mapping: row.mapping_version,
                    catalogue: row.catalogue_revision,
                    replay: row.replay,
                },
            },
        })
        .collect();
    let merged = merge(&stored, outcomes);
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
        "INSERT INTO outcomes (topic, topic_epoch, raw_partition, first_offset, last_offset, items, readings, commands, rejections, \
             mapping_version, catalogue_revision, replay) \
         SELECT $1, $2, $3, * FROM unnest($4::bigint[], $5::bigint[], $6::integer[], $7::integer[], $8::integer[], $9::integer[], \
             $10::integer[], $11::integer[], $12::integer[])",
        topic.as_str() as _,
        epoch as _,
        partition as _,
        runs.iter().map(|run| run.first).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.last).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.outcome.items).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.outcome.readings).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.outcome.commands).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.outcome.rejections).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.outcome.mapped_by.mapping).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.outcome.mapped_by.catalogue).collect::<Vec<_>>() as _,
        runs.iter().map(|run| run.outcome.mapped_by.replay).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}
