//! Writes the table of dead letters.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use schemas::{
    dead_letter::{DeadLetter, Stage},
    receipt::RawPosition,
};
use sqlx::PgConnection;

use super::{
    locks::{self, Locked, RawPartition},
    moment,
};
use crate::item::{Body, Item, Origin};

/// A row of the table.
#[derive(Clone)]
struct Listed<'i> {
    letter: &'i DeadLetter,
    /// The position of the raw record that the dead letter is about, if it is known.
    raw: Option<RawPosition>,
    /// The position of the dead letter itself.
    origin: Origin,
    /// The first item; -1 for the whole message.
    item: i32,
    item_count: i32,
}

pub(super) async fn write(connection: &mut PgConnection, items: &[Item]) -> Result<(), sqlx::Error> {
    let (of_items, others): (Vec<_>, Vec<_>) = items.iter().filter_map(listed).partition(Listed::is_of_items);
    let unlisted = unlisted(connection, of_items).await?;
    let letters: Vec<Listed<'_>> = by_key(others.into_iter().chain(unlisted)).into_values().collect();
    if letters.is_empty() {
        return Ok(());
    }
    let texts = |pick: for<'l> fn(&'l DeadLetter) -> Option<&'l str>| -> Vec<Option<&str>> {
        letters.iter().map(|row| pick(row.letter)).collect()
    };
    let ints = |pick: fn(&Listed<'_>) -> i32| -> Vec<i32> { letters.iter().map(pick).collect() };
    sqlx::query!(
"INSERT INTO dead_letters AS l (origin_topic, origin_partition, origin_offset, item, item_count, stage, reason, \
             detail, content_hmac, raw_topic, topic_epoch, raw_partition, raw_offset, origin_at, letter_partition, \
             letter_offset) \
         SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::integer[], $5::integer[], $6::text[], \
             $7::text[], $8::text[], $9::text[], $10::text[], $11::integer[], $12::integer[], $13::bigint[], \
             $14::timestamptz[], $15::integer[], $16::bigint[]) \
         ON CONFLICT (origin_topic, topic_epoch, origin_partition, origin_offset, item, stage) DO UPDATE \
         SET reason = excluded.reason, detail = excluded.detail, item_count = excluded.item_count, \
             letter_offset = excluded.letter_offset \
         WHERE l.letter_partition = excluded.letter_partition AND l.letter_offset < excluded.letter_offset",
texts(|letter| Some(&letter.origin_topic)) as _,
ints(|row| row.letter.origin_partition) as _,
letters.iter().map(|row| row.letter.origin_offset).collect::<Vec<_>>() as _,
ints(|row| row.item) as _,
ints(|row| row.item_count) as _,
texts(|letter| Some(letter.stage.as_str())) as _,
texts(|letter| Some(letter.reason.as_str())) as _,
texts(|letter| Some(&letter.detail)) as _,
texts(|letter| letter.content_hmac.as_deref()) as _,
letters.iter().map(|row| row.raw.map(|raw| raw.topic.as_str())).collect::<Vec<_>>() as _,
ints(|row| epoch(row.raw)) as _,
letters.iter().map(|row| row.raw.map(|raw| raw.partition)).collect::<Vec<_>>() as _,
letters.iter().map(|row| row.raw.map(|raw| raw.offset)).collect::<Vec<_>>() as _,
letters.iter().map(|row| moment(row.letter.origin_timestamp)).collect::<Vec<_>>() as _,
ints(|row| row.origin.partition.number) as _,
letters.iter().map(|row| row.origin.offset).collect::<Vec<_>>() as _
)
    .execute(connection)
    .await?;
    Ok(())
}

fn listed(item: &Item) -> Option<Listed<'_>> {
    let letter = match &item.body {
        Body::DeadLetter(letter) => letter.as_ref(),
        Body::Reading(_) | Body::Assignment(_) | Body::Document(_) | Body::Outcome(_) | Body::Refused(_) => {
            return None;
        }
    };
    let raw = letter.raw_position.as_deref().and_then(|text| text.parse().ok());
    let (item_count, origin) = (letter.item_count, item.origin);
    Some(Listed { letter, raw, origin, item: letter.item.unwrap_or(-1), item_count })
}

impl Listed<'_> {
    /// Whether the dead letter is about items that a sink refused. The batches of that sink determine which items share a dead
    /// letter: items that were refused in one batch may be refused again in two, or in half of one.
    fn is_of_items(&self) -> bool {
        self.letter.stage == Stage::Sink && self.raw.is_some() && self.item >= 0
    }

    fn items(&self) -> Range<i64> {
        let first = i64::from(self.item);
        first..first + i64::from(self.item_count)
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
    // Only one sink at a time may list items of a raw partition: another sink would not see the rows that this one adds.
    let partitions: BTreeSet<RawPartition> =
        of_records.keys().map(|raw| (raw.topic, raw.topic_epoch, raw.partition)).collect();
    locks::lock(&mut *connection, Locked::DeadLetters, &partitions).await?;
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

/// Disjoint ranges of items: the end of each range, by its start.
#[derive(Default)]
struct ItemRanges(BTreeMap<i64, i64>);

impl ItemRanges {
    /// Adds items. Returns those that were not contained.
    fn add(&mut self, items: Range<i64>) -> Vec<Range<i64>> {
        let mut from = items.start;
        let mut new = Vec::new();
        let begun_before = self.0.range(..from).next_back().map(|(_, end)| *end);
        from = from.max(begun_before.unwrap_or(from));
        if from < items.end {
            for (start, end) in self.0.range(from..items.end) {
                if from < *start {
                    new.push(from..*start);
                }
                from = *end;
            }
        }
        if from < items.end {
            new.push(from..items.end);
        }
        self.0.extend(new.iter().map(|items| (items.start, items.end)));
        new
    }
}

/// The topic epoch; -1 for an unknown position.
fn epoch(raw: Option<RawPosition>) -> i32 {
    raw.map_or(-1, |raw| raw.topic_epoch)
}

fn int(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
