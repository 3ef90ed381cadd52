//! Writes the table of dead letters: one row for each item, or run of items, that was refused.
//!
//! An item may be refused again by a replay. The row then counts one more attempt and is open again; only a dead letter that an
//! operator discarded stays so while the reason is the same. The same dead letter again is no attempt. A dead letter of an earlier
//! attempt than the stored one changes nothing.

mod attempt;
mod ranges;
mod resolve;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use schemas::{
    dead_letter::{DeadLetter, Stage},
    event::Outcome,
    receipt::RawPosition,
};
use sqlx::{PgConnection, types::time::OffsetDateTime};

use self::{
    attempt::Attempt,
    ranges::{ItemRanges, Items},
};
use super::locks::{self, Locked, Mode, RawPartition};
use crate::item::{Body, Item, Origin};

/// A row of the table.
#[derive(Clone)]
struct Listed<'i> {
    letter: &'i DeadLetter,
    receipt: Option<&'i str>,
    /// The position of the raw record that the dead letter is about, if it is known.
    raw: Option<RawPosition>,
    /// The position of the dead letter itself.
    origin: Origin,
    /// The first item; -1 for the whole message.
    item: i32,
    item_count: i32,
}

/// Writes the dead letters among the items, and resolves those whose items are accepted now.
pub(super) async fn write(
    connection: &mut PgConnection,
    items: &[Item],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let mut attempts: BTreeMap<i32, Vec<Listed<'_>>> = BTreeMap::new();
    for row in items.iter().filter_map(listed) {
        attempts.entry(row.replay()).or_default().push(row);
    }
    lock(connection, items, attempts.values().flatten()).await?;
    for (replay, letters) in &attempts {
        Attempt { replay: *replay, now }.write(connection, letters).await?;
    }
    resolve::rejections(connection, items, now).await?;
    resolve::refused_by_sinks(connection, items, now).await
}

/// A dead letter may be written by one sink while another one writes what resolves it, so the later one must see the earlier one.
async fn lock<'i>(
    connection: &mut PgConnection,
    items: &[Item],
    letters: impl Iterator<Item = &'i Listed<'i>> + Clone,
) -> Result<(), sqlx::Error> {
    let outcomes = items.iter().filter_map(replayed_outcome);
    let outcomes: BTreeSet<RawPartition> = outcomes.map(|it| (it.topic, it.topic_epoch, it.partition)).collect();
    let mode = if outcomes.is_empty() { Mode::Shared } else { Mode::Exclusive };
    let of_normalizers = letters.clone().filter(|row| row.letter.stage == Stage::Normalizer);
    let letters_of_normalizers = partitions(of_normalizers);
    locks::lock(&mut *connection, Locked::Rejections, mode, &(&letters_of_normalizers | &outcomes)).await?;

    // Only one sink at a time may list items of a raw partition: another sink would not see the rows that this one adds.
    let letters_of_sinks = partitions(letters.filter(|row| row.is_of_items()));
    let readings: BTreeSet<RawPartition> =
        items.iter().filter_map(resolve::accepted).map(|it| partition_of(it.raw)).collect();
    let mode = if letters_of_sinks.is_empty() { Mode::Shared } else { Mode::Exclusive };
    locks::lock(connection, Locked::DeadLetters, mode, &(&letters_of_sinks | &readings)).await
}

fn partitions<'i>(letters: impl Iterator<Item = &'i Listed<'i>>) -> BTreeSet<RawPartition> {
    letters.filter_map(|row| row.raw.map(partition_of)).collect()
}

fn partition_of(raw: RawPosition) -> RawPartition {
    (raw.topic, raw.topic_epoch, raw.partition)
}

/// The outcome that a replay published.
fn replayed_outcome(item: &Item) -> Option<&Outcome> {
    match &item.body {
        Body::Outcome(outcome) if outcome.replay.is_some() => Some(outcome),
        Body::Outcome(_)
        | Body::Reading(_)
        | Body::Assignment(_)
        | Body::Document(_)
        | Body::DeadLetter(_)
        | Body::Refused(_) => None,
    }
}

fn listed(item: &Item) -> Option<Listed<'_>> {
    let received = match &item.body {
        Body::DeadLetter(received) => received.as_ref(),
        Body::Reading(_) | Body::Assignment(_) | Body::Document(_) | Body::Outcome(_) | Body::Refused(_) => {
            return None;
        }
    };
    let letter = &received.letter;
    Some(Listed {
        letter,
        receipt: received.receipt.as_deref(),
        raw: letter.raw_position.as_deref().and_then(|text| text.parse().ok()),
        origin: item.origin,
        item: letter.item.unwrap_or(-1),
        item_count: letter.item_count,
    })
}

impl Listed<'_> {
    /// Whether the dead letter is about items that a sink refused. The batches of that sink determine which items share a dead
    /// letter: items that were refused in one batch may be refused again in two, or in half of one.
    fn is_of_items(&self) -> bool {
        self.letter.stage == Stage::Sink && self.raw.is_some() && self.item >= 0
    }

    /// The number of the replay; 0 for the stages.
    fn replay(&self) -> i32 {
        self.letter.replay.unwrap_or(0)
    }

    fn items(&self) -> Range<i64> {
        let first = i64::from(self.item);
        first..first + i64::from(self.item_count)
    }

    fn of_record(&self) -> Option<Items> {
        Some(Items { raw: self.raw?, items: self.items(), replay: self.replay() })
    }
}

/// The dead letters by the key of the table; if two have the same key, the later one.
fn by_key<'i>(
    letters: impl Iterator<Item = Listed<'i>>,
) -> BTreeMap<(&'i str, i32, i32, i64, i32, &'static str), Listed<'i>> {
    let key = |Listed { letter, raw, item, .. }: &Listed<'i>| {
        let (topic, stage) = (letter.origin_topic.as_str(), letter.stage.as_str());
        (topic, epoch(*raw), letter.origin_partition, letter.origin_offset, *item, stage)
    };
    letters.map(|row| (key(&row), row)).collect()
}

/// Returns rows for the items that no dead letter in the table covers yet. Each item is listed once, however often it was
/// refused and whatever runs it was part of.
async fn unlisted<'i>(connection: &mut PgConnection, letters: Vec<Listed<'i>>) -> Result<Vec<Listed<'i>>, sqlx::Error> {
    let mut of_records: BTreeMap<RawPosition, Vec<Listed<'i>>> = BTreeMap::new();
    for (raw, row) in letters.into_iter().filter_map(|row| Some((row.raw?, row))) {
        of_records.entry(raw).or_default().push(row);
    }
    let mut known = listed_items(connection, &of_records).await?;
    let mut rows = Vec::new();
    for (raw, letters) in of_records {
        let known = known.entry(raw).or_default();
        for row in letters {
            rows.extend(known.add(row.items()).into_iter().map(|items| Listed {
                item: int(items.start),
                item_count: int(items.end - items.start),
                ..row.clone()
            }));
        }
    }
    Ok(rows)
}

/// The items of these records that are listed already, as far as the dead letters may overlap with them.
async fn listed_items(
    connection: &mut PgConnection,
    of_records: &BTreeMap<RawPosition, Vec<Listed<'_>>>,
) -> Result<BTreeMap<RawPosition, ItemRanges>, sqlx::Error> {
    if of_records.is_empty() {
        return Ok(BTreeMap::new());
    }
    let records: Vec<(RawPosition, Range<i64>)> =
        of_records.iter().map(|(raw, letters)| (*raw, span(letters))).collect();
    let listed = sqlx::query!(
        "SELECT w.number AS \"number!\", l.item, l.item_count \
         FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[]) \
             WITH ORDINALITY w(topic, epoch, partition, log_offset, first, behind, number) \
         JOIN dead_letters l ON l.raw_offset = w.log_offset AND l.raw_partition = w.partition AND l.raw_topic = w.topic \
             AND l.topic_epoch = w.epoch \
         WHERE l.stage = $7 AND l.item >= 0 AND l.item < w.behind AND l.item::bigint + l.item_count > w.first",
        records.iter().map(|(raw, _)| raw.topic.as_str()).collect::<Vec<_>>() as _,
        &records.iter().map(|(raw, _)| raw.topic_epoch).collect::<Vec<_>>(),
        &records.iter().map(|(raw, _)| raw.partition).collect::<Vec<_>>(),
        &records.iter().map(|(raw, _)| raw.offset).collect::<Vec<_>>(),
        &records.iter().map(|(_, items)| items.start).collect::<Vec<_>>(),
        &records.iter().map(|(_, items)| items.end).collect::<Vec<_>>(),
        Stage::Sink.as_str()
    )
    .fetch_all(connection)
    .await?;
    let mut known: BTreeMap<RawPosition, ItemRanges> = BTreeMap::new();
    for row in listed {
        let record = usize::try_from(row.number - 1).ok().and_then(|index| records.get(index));
        if let Some((raw, _)) = record {
            let first = i64::from(row.item);
            known.entry(*raw).or_default().add(first..first + i64::from(row.item_count));
        }
    }
    Ok(known)
}

/// The range from the first item to the end of the last one.
fn span(letters: &[Listed<'_>]) -> Range<i64> {
    let first = letters.iter().map(|row| row.items().start).min();
    let behind = letters.iter().map(|row| row.items().end).max();
    first.unwrap_or_default()..behind.unwrap_or_default()
}

/// The topic epoch; -1 for an unknown position.
fn epoch(raw: Option<RawPosition>) -> i32 {
    raw.map_or(-1, |raw| raw.topic_epoch)
}

fn int(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use schemas::format::RawTopic;

    use super::*;

    #[test]
    fn an_unknown_position_has_an_epoch_that_no_topic_has() {
        let raw = RawPosition { topic: RawTopic::Devices, topic_epoch: 3, partition: 1, offset: 2 };
        assert_eq!((epoch(Some(raw)), epoch(None)), (3, -1));
    }
}
