//! Compares a batch of mapped records with the database.

use std::collections::{BTreeMap, BTreeSet};

use normalizer::Rejection;
use schemas::event::Reading;
use sqlx::PgConnection;
use store::{
    reading::{Row, load},
    replay::{self, RawRange, StoredRefusal},
};
use uuid::Uuid;

use crate::{
    batch::Mapped,
    compare::{Comparison, compare},
    diff::ChangeKind,
    error::ReplayError,
    state::Replay,
};

/// What is known of the records since the last complete one: a large upload is compared in pieces, and which of its stored readings
/// and refusals are missing shows only after the last piece.
#[derive(Default)]
pub(super) struct Unfinished {
    first: Option<i64>,
    offsets: BTreeSet<i64>,
    yielded: BTreeSet<Uuid>,
    rejections: Vec<Rejection>,
}

impl Replay {
    /// Compares a batch of records of a range.
    pub(super) async fn compare(
        &self,
        connection: &mut PgConnection,
        range: &RawRange,
        batch: Vec<Mapped>,
        unfinished: &mut Unfinished,
    ) -> Result<(), ReplayError> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        let part = RawRange { first: *unfinished.first.get_or_insert(first.offset), end: last.offset + 1, ..*range };
        let is_complete = last.is_last;
        self.collector().counts().records += batch.iter().filter(|record| record.is_last).count() as u64;
        self.compare_readings(connection, &batch, unfinished).await?;
        if !self.config.scope.is_by_reading() {
            let mut stored: BTreeMap<i64, Vec<StoredRefusal>> = BTreeMap::new();
            if batch.iter().any(|record| record.is_last) {
                for refusal in replay::refusals(connection, &part).await? {
                    stored.entry(refusal.offset).or_default().push(refusal);
                }
            }
            for record in batch {
                unfinished.rejections.extend(record.rejections);
                if record.is_last {
                    let produced = std::mem::take(&mut unfinished.rejections);
                    self.compare_refusals(&produced, &stored.remove(&record.offset).unwrap_or_default());
                }
            }
        }
        if is_complete {
            let Unfinished { offsets, yielded, .. } = std::mem::take(unfinished);
            let rows = replay::readings_of(connection, &part).await?.into_iter();
            let missing = rows.filter(|row| offsets.contains(&row.offset) && !yielded.contains(&row.reading_id));
            self.missing().extend(missing.map(|row| row.reading_id));
        }
        Ok(())
    }

    async fn compare_readings(
        &self,
        connection: &mut PgConnection,
        batch: &[Mapped],
        unfinished: &mut Unfinished,
    ) -> Result<(), ReplayError> {
        let scope = &self.config.scope;
        let produced: Vec<&Reading> = batch.iter().flat_map(|record| &record.readings).collect();
        let ids: Vec<Uuid> = produced.iter().map(|reading| reading.reading_id).collect();
        let stored: BTreeMap<Uuid, _> =
            load(&mut *connection, &ids).await?.into_iter().map(|stored| (stored.reading.reading_id, stored)).collect();
        for reading in produced.iter().filter(|reading| scope.has_reading(reading, &self.holdings)) {
            match compare(reading, stored.get(&reading.reading_id)) {
                Comparison::Unchanged => self.collector().counts().unchanged += 1,
                Comparison::Superseded => self.collector().counts().superseded += 1,
                // The sink refuses it again, and its dead letter stays.
                Comparison::Added if self.is_refused_by_sink(reading) => {
                    self.collector().counts().refusals.unchanged += 1;
                }
                Comparison::Added => {
                    self.collector().add(ChangeKind::Added, Vec::new(), reading, self.receipt(reading));
                }
                Comparison::Changed(fields) => {
                    self.collector().add(ChangeKind::Changed, fields, reading, self.receipt(reading));
                }
            }
        }
        unfinished.offsets.extend(batch.iter().map(|record| record.offset));
        unfinished.yielded.extend(ids);
        Ok(())
    }

    fn is_refused_by_sink(&self, reading: &Reading) -> bool {
        Row::new(reading.clone(), &self.config.receipt_key).is_err()
    }

    fn compare_refusals(&self, produced: &[Rejection], stored: &[StoredRefusal]) {
        let mut before: BTreeMap<i32, &str> = BTreeMap::new();
        for refusal in stored.iter().filter(|refusal| refusal.stage == "normalizer") {
            let last = refusal.item.saturating_add(refusal.item_count.max(1));
            before.extend((refusal.item..last).map(|item| (item, refusal.reason.as_str())));
        }
        let mut collector = self.collector();
        let refusals = &mut collector.counts().refusals;
        for rejection in produced {
            let first = rejection.item.map_or(-1, |item| i32::try_from(item).unwrap_or(i32::MAX));
            let count = i32::try_from(rejection.item_count).unwrap_or(i32::MAX).max(1);
            for item in first..first.saturating_add(count) {
                match before.remove(&item) {
                    Some(_) => refusals.unchanged += 1,
                    None => *refusals.newly_refused.entry(rejection.reason.as_str().to_owned()).or_default() += 1,
                }
            }
        }
        for reason in before.into_values() {
            *refusals.newly_accepted.entry(reason.to_owned()).or_default() += 1;
        }
    }
}
