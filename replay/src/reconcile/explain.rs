//! Names the items by which a raw record differs from its outcome, by mapping the record again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use normalizer::{MAPPING_VERSION, MappedItem, RawMessage, map_again};
use schemas::{
    format::{Format, RawTopic},
    raw::RecordKind,
    receipt::RawPosition,
};
use sqlx::PgConnection;
use store::{
    reconcile::{self as stored, Place, StoredItem},
    replay::RawRange,
};
use uuid::Uuid;

use super::{
    Reconcile,
    balance::{Difference, Unbalanced},
    finding::{Finding, FindingKind},
};
use crate::{defaults::EarlierDefaults, error::ReplayError};

/// What a raw record yields.
#[derive(Debug, Default, PartialEq, Eq)]
struct Yielded {
    /// The reading of each item.
    readings: BTreeMap<i32, Uuid>,
    /// The items that are refused; -1 for the whole payload.
    refused: BTreeSet<i32>,
    has_item_receipts: bool,
}

/// An item that differs.
#[derive(Debug, PartialEq, Eq)]
struct Differs {
    kind: FindingKind,
    item: i32,
    reading_id: Option<Uuid>,
}

impl Reconcile {
    /// Adds what differs in a raw record. Its items are named only if this release maps it as its outcome says.
    pub(super) async fn explain(
        self: &Arc<Self>,
        connection: &mut PgConnection,
        part: &RawRange,
        record: &Unbalanced,
        is_mapped: bool,
    ) -> Result<(), ReplayError> {
        let range = RawRange { first: record.offset, end: record.offset + 1, ..*part };
        let is_mapped = is_mapped
            && range.topic != RawTopic::Devices
            && record.run.mapped_by.mapping_and_catalogue() == (MAPPING_VERSION, catalogue::revision());
        let yielded = if is_mapped {
            let earlier = EarlierDefaults::load(connection, &range).await?;
            let shared = Arc::clone(self);
            tokio::task::spawn_blocking(move || shared.map(&range, &earlier)).await??
        } else {
            None
        };
        let promises = |yielded: &Yielded| {
            let count = |items: usize| i64::try_from(items).unwrap_or(i64::MAX);
            (count(yielded.readings.len()), count(yielded.refused.len()))
                == (record.run.readings, record.run.rejections)
        };
        let Some(yielded) = yielded.filter(promises) else {
            self.add_counts(&range, record.difference);
            return Ok(());
        };
        let RawRange { topic, topic_epoch, partition, first: offset, .. } = range;
        let position = RawPosition { topic, topic_epoch: topic_epoch.into(), partition, offset };
        for Differs { kind, item, reading_id } in differences(&yielded, &stored::items(connection, &position).await?) {
            let of_receipt = if yielded.has_item_receipts { u32::try_from(item).unwrap_or(0) } else { 0 };
            let receipt = self.receipt(&range, of_receipt);
            self.add(Finding { item: Some(item), reading_id, receipt, ..self.found(kind, &range) });
        }
        Ok(())
    }

    /// Adds how many items differ.
    fn add_counts(&self, range: &RawRange, difference: Difference) {
        let Difference { readings, rejections, commands, excess } = difference;
        for (kind, count) in [
            (FindingKind::MissingReading, -readings),
            (FindingKind::MissingDeadLetter, -rejections),
            (FindingKind::MissingCommand, -commands),
            (FindingKind::StoredTwice, excess),
            (FindingKind::NotPromised, readings.max(0) + rejections.max(0) + commands.max(0)),
        ] {
            if count > 0 {
                self.add(Finding { count: count.unsigned_abs(), ..self.found(kind, range) });
            }
        }
    }

    /// Maps a record again. `None` if it cannot be read any more. Blocks.
    fn map(&self, range: &RawRange, earlier: &EarlierDefaults) -> Result<Option<Yielded>, ReplayError> {
        let mut message = None;
        self.log.read(range, |read| {
            message = Some(read);
            Ok(false)
        })?;
        let Some(message) = message else { return Ok(None) };
        let mut raw = RawMessage::new(range.topic, message);
        if let Some(defaults) = earlier.at(raw.offset()) {
            raw.add_defaults(defaults);
        }
        let kind = raw.headers().ok().map(|headers| headers.kind);
        let provider = range.topic.provider();
        let mut yielded = Yielded {
            has_item_receipts: matches!(kind, Some(RecordKind::Payload(format @ Format::StandardJson))
                if provider.is_some_and(|provider| format.has_item_receipts(provider))),
            ..Yielded::default()
        };
        map_again(&self.config.normalizer, &raw, &mut |found| {
            match found {
                MappedItem::Reading(reading) => {
                    yielded.readings.insert(reading.provenance.item, reading.reading_id);
                }
                MappedItem::Rejection(rejection) => match rejection.item.and_then(|item| i32::try_from(item).ok()) {
                    Some(first) => {
                        let count = i32::try_from(rejection.item_count).unwrap_or(i32::MAX);
                        yielded.refused.extend(first..first.saturating_add(count));
                    }
                    None => {
                        yielded.refused.insert(-1);
                    }
                },
                MappedItem::Command(_) | MappedItem::Document(_) => {}
            }
            true
        })?;
        Ok(Some(yielded))
    }
}

/// Compares what a record yields with where its items are. `items` are in the order of items.
fn differences(yielded: &Yielded, items: &[StoredItem]) -> Vec<Differs> {
    let mut found = Vec::new();
    let mut delivered = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for entries in items.chunk_by(|one, next| one.item == next.item) {
        let Some(first) = entries.first() else { continue };
        let expected = yielded.readings.get(&first.item);
        let is_delivered = first.place < Place::Refused;
        if is_delivered {
            delivered.insert(first.item);
        } else {
            refused.insert(first.item);
        }
        let is_redriven = entries.iter().any(|entry| entry.place == Place::Redriven);
        let is_promised =
            if is_delivered { expected.is_some() } else { yielded.refused.contains(&first.item) || is_redriven };
        if !is_promised {
            found.push(Differs { kind: FindingKind::NotPromised, item: first.item, reading_id: first.reading_id });
        }
        // The entry that the mapping yields is the first one; if there is none, any of them.
        let own = entries.iter().position(|entry| entry.times > 0 && entry.reading_id.as_ref() == expected);
        let own = own.or_else(|| entries.iter().position(|entry| entry.times > 0));
        for (at, entry) in entries.iter().enumerate() {
            let excess = entry.times - i64::from(Some(at) == own);
            for _ in 0..excess {
                let (item, reading_id) = (entry.item, entry.reading_id);
                found.push(Differs { kind: FindingKind::StoredTwice, item, reading_id });
            }
        }
    }
    let missing = yielded.readings.iter().filter(|(item, _)| !delivered.contains(*item));
    found.extend(missing.map(|(item, id)| Differs {
        kind: FindingKind::MissingReading,
        item: *item,
        reading_id: Some(*id),
    }));
    let missing = yielded.refused.iter().filter(|item| !refused.contains(*item) && !delivered.contains(*item));
    found.extend(missing.map(|item| Differs { kind: FindingKind::MissingDeadLetter, item: *item, reading_id: None }));
    found.sort_by_key(|differs| (differs.item, differs.kind));
    found
}

#[cfg(test)]
mod tests {
    use super::{FindingKind::*, *};

    fn id(number: i32) -> Uuid {
        Uuid::from_u128(u128::from(number.unsigned_abs()))
    }

    /// Items 0, 1 and 2 are readings, 3 and the whole payload are refused.
    fn yielded() -> Yielded {
        Yielded {
            readings: (0..3).map(|item| (item, id(item))).collect(),
            refused: [-1, 3].into(),
            has_item_receipts: false,
        }
    }

    fn at(item: i32, place: Place) -> StoredItem {
        let is_reading = place < Place::RefusedBySink;
        StoredItem { item, reading_id: is_reading.then(|| id(item)), place, times: i64::from(is_reading) }
    }

    fn all() -> Vec<StoredItem> {
        vec![
            at(-1, Place::Refused),
            at(0, Place::Current),
            at(1, Place::Duplicate),
            at(2, Place::RefusedBySink),
            at(3, Place::Refused),
        ]
    }

    #[test]
    fn exactly_the_items_that_differ_are_named() {
        let found = |items: &[StoredItem]| -> Vec<(FindingKind, i32)> {
            differences(&yielded(), items).iter().map(|differs| (differs.kind, differs.item)).collect()
        };
        assert_eq!(found(&all()), []);
        for (missing, kind) in
            [(0, MissingDeadLetter), (1, MissingReading), (3, MissingReading), (4, MissingDeadLetter)]
        {
            let mut items = all();
            let item = items.remove(missing).item;
            assert_eq!(found(&items), [(kind, item)]);
        }
        let mut items = all();
        items.insert(1, at(0, Place::Current));
        items[1].reading_id = Some(id(77));
        assert_eq!(differences(&yielded(), &items), [Differs { kind: StoredTwice, item: 0, reading_id: Some(id(77)) }]);
        let mut items = all();
        items[1].times = 2;
        assert_eq!(found(&items), [(StoredTwice, 0)]);
        let mut items = all();
        items.extend([at(4, Place::Duplicate), at(5, Place::Refused), at(6, Place::Redriven)]);
        assert_eq!(found(&items), [(NotPromised, 4), (NotPromised, 5)]);
    }
}
