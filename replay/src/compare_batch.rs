//! Compares a batch of mapped records with the database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
};

use normalizer::{Rejection, Totals};
use schemas::{
    codec::encode,
    event::{Assignment, Coding, Reading},
    format::RawTopic,
    receipt::RawPosition,
};
use sqlx::{Connection as _, PgConnection};
use store::{
    reading::{Row, StoredReading, load},
    reconcile::{StoredRun, runs},
    replay::{
        self, Change, ChangeKind, Delivery, JobRange, Pass, RawRange, StoredCommand, StoredRefusal, add_changes,
        advance,
    },
};
use uuid::Uuid;

use crate::{
    batch::{Mapped, Read},
    compare::{Comparison, Field, command_differences, compare},
    counts::Counts,
    error::ReplayError,
    job::ended,
    state::{Replay, receipt_of},
};

/// A record whose pieces are being compared. A record that is no large upload has one piece.
#[derive(Default)]
pub(super) struct OpenRecord {
    changes: Vec<Change>,
    /// Readings that are not stored. Whether the sink refuses them is known when the record is complete.
    added: Vec<Change>,
    counts: Counts,
    yielded: BTreeSet<(i32, Uuid)>,
    documents: BTreeSet<[u8; 32]>,
    totals: Totals,
    rejections: Vec<Rejection>,
    command: Option<Assignment>,
    /// Whether the scope covers the record.
    is_covered: bool,
}

impl OpenRecord {
    /// Moves the readings that are not stored to the changes, except those for which the sink has a dead letter: it would refuse them
    /// again.
    fn keep_added(&mut self, refusals: &[StoredRefusal]) {
        let by_sink: Vec<&StoredRefusal> = refusals.iter().filter(|refusal| refusal.stage == "sink").collect();
        for added in std::mem::take(&mut self.added) {
            let is_in = |refusal: &&StoredRefusal| {
                (refusal.item..refusal.item.saturating_add(refusal.item_count)).contains(&added.item)
            };
            if by_sink.iter().any(is_in) {
                self.counts.refusals.unchanged += 1;
            } else {
                self.changes.push(added);
            }
        }
    }
}

/// What is stored about the records of a batch.
struct StoredRecords {
    range: RawRange,
    pass: Pass,
    readings: BTreeMap<Uuid, StoredReading>,
    deliveries: BTreeMap<i64, Vec<Delivery>>,
    refusals: BTreeMap<i64, Vec<StoredRefusal>>,
    outcomes: Vec<StoredRun>,
    commands: BTreeMap<i64, StoredCommand>,
    excess_commands: Vec<(i64, i64)>,
    documents: BTreeSet<Vec<u8>>,
}

impl StoredRecords {
    /// The readings, commands and refused items that the outcome of a record counts; none without an outcome.
    fn outcome(&self, offset: i64) -> Totals {
        let at = self.outcomes.partition_point(|run| run.last < offset);
        let run = self.outcomes.get(at).filter(|run| run.first <= offset);
        let count = |pick: fn(&StoredRun) -> i64| run.map_or(0, |run| usize::try_from(pick(run)).unwrap_or(0));
        Totals {
            readings: count(|run| run.readings),
            commands: count(|run| run.commands),
            rejections: count(|run| run.rejections),
        }
    }

    fn is_excess(&self, offset: i64) -> bool {
        self.excess_commands.iter().any(|(first, last)| (*first..=*last).contains(&offset))
    }
}

/// The hash over a stored reading, by which a change since the comparison is noticed.
pub(super) fn fingerprint(stored: &StoredReading) -> Uuid {
    Uuid::new_v5(&Uuid::nil(), &encode(&stored.reading))
}

/// The hash over a stored device command.
pub(super) fn command_fingerprint(stored: &StoredCommand) -> Uuid {
    let StoredCommand { offset: _, device_key, command, patient_id, effective_from, mapping_version, .. } = stored;
    Uuid::new_v5(
        device_key,
        format!("{command} {patient_id:?} {effective_from:?} {mapping_version} {:?}", stored.name).as_bytes(),
    )
}

fn change(raw: RawPosition, item: i32, kind: ChangeKind, reading: &Reading) -> Change {
    let Coding { system, code, display } = &reading.code;
    Change {
        raw,
        item,
        kind,
        subject_id: reading.reading_id,
        fields: Vec::new(),
        code_system: Some(system.to_string()),
        code: Some(code.to_string()),
        display: display.as_ref().map(ToString::to_string),
        device_id: reading.device.as_ref().map(|device| device.id.as_str().to_owned()),
        before: None,
    }
}

impl Replay {
    /// Compares a batch of records of a range, and stores the differences and the progress in one transaction.
    pub(super) async fn compare(
        &self,
        connection: &mut PgConnection,
        (pass, progress, counts): (Pass, &mut JobRange, &mut Counts),
        Read { records, next }: Read,
        open: &mut OpenRecord,
    ) -> Result<(), ReplayError> {
        let mut transaction = connection.begin().await?;
        let stored = self.stored(&mut transaction, (progress.range, pass), &records).await?;
        let mut finished = Vec::new();
        for mut record in records {
            self.add(&mut record, &stored, open);
            if record.is_last {
                let mut whole = std::mem::take(open);
                if let Some(gone) = record.gone {
                    counts.add_deleted(&progress.range, gone, false);
                    continue;
                }
                if !self.scope.is_by_content() && pass == Pass::Compare {
                    whole.is_covered = true;
                }
                finished.push((record.offset, whole));
            }
        }
        let changes = self.finish(&mut transaction, &stored, finished, counts).await?;
        add_changes(&mut transaction, self.id, &changes).await?;
        (progress.next, progress.counts) = (next, counts.stored());
        if !advance(&mut transaction, self.id, pass, progress).await? {
            return Err(ended(&mut transaction, self.id).await);
        }
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("replay-batch-compared");
        transaction.commit().await?;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("replay-progress-stored");
        Ok(())
    }

    /// Reads what is stored about the records of a batch.
    async fn stored(
        &self,
        connection: &mut PgConnection,
        (range, pass): (RawRange, Pass),
        records: &[Mapped],
    ) -> Result<StoredRecords, ReplayError> {
        let ids: Vec<Uuid> =
            records.iter().flat_map(|record| &record.readings).map(|reading| reading.reading_id).collect();
        let readings = load(&mut *connection, &ids).await?;
        let hashes: BTreeSet<Vec<u8>> =
            records.iter().flat_map(|record| &record.documents).map(|hash| hash.to_vec()).collect();
        let documents = if hashes.is_empty() {
            Vec::new()
        } else {
            replay::stored_documents(connection, &hashes.into_iter().collect::<Vec<_>>()).await?
        };
        let mut stored = StoredRecords {
            range,
            pass,
            readings: readings.into_iter().map(|stored| (stored.reading.reading_id, stored)).collect(),
            deliveries: BTreeMap::new(),
            refusals: BTreeMap::new(),
            outcomes: Vec::new(),
            commands: BTreeMap::new(),
            excess_commands: Vec::new(),
            documents: documents.into_iter().collect(),
        };
        let mut complete =
            records.iter().filter(|record| record.is_last && record.gone.is_none()).map(|record| record.offset);
        let Some(first) = complete.next() else { return Ok(stored) };
        let part = RawRange { first, end: complete.next_back().unwrap_or(first) + 1, ..range };
        if range.topic == RawTopic::Devices {
            let commands = replay::commands(connection, &part).await?;
            stored.commands = commands.into_iter().map(|command| (command.offset, command)).collect();
            stored.excess_commands = replay::excess_commands(connection, &part).await?;
        } else {
            for delivery in replay::deliveries(connection, &part).await? {
                stored.deliveries.entry(delivery.offset).or_default().push(delivery);
            }
        }
        for refusal in replay::refusals(connection, &part).await? {
            stored.refusals.entry(refusal.offset).or_default().push(refusal);
        }
        stored.outcomes = runs(connection, &part).await?;
        Ok(stored)
    }

    /// Adds a piece of a record.
    fn add(&self, piece: &mut Mapped, stored: &StoredRecords, open: &mut OpenRecord) {
        let raw = stored.range.position(piece.offset);
        let totals = piece.totals();
        open.totals.readings += totals.readings;
        open.totals.commands += totals.commands;
        open.totals.rejections += totals.rejections;
        open.rejections.append(&mut piece.rejections);
        open.documents.extend(piece.documents.iter().filter(|hash| !stored.documents.contains(hash.as_slice())));
        for reading in &piece.readings {
            let item = reading.provenance.item;
            open.yielded.insert((item, reading.reading_id));
            let known = stored.readings.get(&reading.reading_id);
            let is_missing = self.missing.contains(&reading.reading_id);
            open.is_covered |= match stored.pass {
                Pass::Find => is_missing,
                Pass::Compare | Pass::Apply => self.scope.has_reading(reading, &self.holdings),
            };
            let found = |kind| Change { before: known.map(fingerprint), ..change(raw, item, kind, reading) };
            match compare(reading, known) {
                Comparison::Added => open.added.push(found(ChangeKind::Added)),
                Comparison::Changed(fields) => {
                    self.show(ChangeKind::Changed, known, reading);
                    let fields = fields.into_iter().map(|field| Field::as_str(field).to_owned()).collect();
                    open.changes.push(Change { fields, ..found(ChangeKind::Changed) });
                }
                Comparison::Unchanged | Comparison::Superseded if is_missing => {
                    open.changes.push(found(ChangeKind::Moved));
                }
                Comparison::Unchanged => open.counts.unchanged += 1,
                Comparison::Superseded => open.counts.superseded += 1,
            }
            // The sink refuses it again, and its dead letter stays.
            if known.is_none()
                && !self.scope.is_redrive()
                && Row::new(reading.clone(), &self.config.receipt_key).is_err()
            {
                open.added.pop();
                open.counts.refusals.unchanged += 1;
            } else if known.is_none() {
                self.show(ChangeKind::Added, None, reading);
            }
        }
        if let Some(command) = piece.command.take() {
            open.is_covered |= self.scope.has_command(&command);
            open.command = Some(command);
        }
    }

    fn show(&self, kind: ChangeKind, before: Option<&StoredReading>, after: &Reading) {
        if let Some(examples) = &self.examples {
            let mut examples = examples.lock().unwrap_or_else(PoisonError::into_inner);
            let receipt = || receipt_of(after, &self.config.receipt_key);
            examples.add(kind.as_str(), before.map(|stored| &stored.reading), after, receipt);
        }
    }

    /// Compares complete records with what is stored about them. Returns the changes of those that the scope covers.
    async fn finish(
        &self,
        connection: &mut PgConnection,
        stored: &StoredRecords,
        mut finished: Vec<(i64, OpenRecord)>,
        counts: &mut Counts,
    ) -> Result<Vec<Change>, ReplayError> {
        let missing_of = |offset: i64, record: &OpenRecord| -> Vec<Delivery> {
            let deliveries = stored.deliveries.get(&offset).into_iter().flatten();
            deliveries.filter(|one| !record.yielded.contains(&(one.item, one.reading_id))).copied().collect()
        };
        let missing: BTreeSet<Uuid> = finished
            .iter()
            .flat_map(|(offset, record)| missing_of(*offset, record))
            .map(|delivery| delivery.reading_id)
            .collect();
        let missing = load(connection, &missing.into_iter().collect::<Vec<_>>()).await?;
        let missing: BTreeMap<Uuid, StoredReading> =
            missing.into_iter().map(|stored| (stored.reading.reading_id, stored)).collect();
        let mut changes = Vec::new();
        for (offset, record) in &mut finished {
            let raw = stored.range.position(*offset);
            let mut gone: Vec<&StoredReading> = Vec::new();
            for delivery in missing_of(*offset, record) {
                if let Some(known) = missing.get(&delivery.reading_id) {
                    let found = change(raw, delivery.item, ChangeKind::Missing, &known.reading);
                    record.changes.push(Change { before: Some(fingerprint(known)), ..found });
                    gone.push(known);
                }
            }
            record.is_covered |= self.scope.is_by_content()
                && gone.iter().any(|known| self.scope.has_reading(&known.reading, &self.holdings));
            let refusals = stored.refusals.get(offset).map(Vec::as_slice).unwrap_or_default();
            record.keep_added(if self.scope.is_redrive() { &[] } else { refusals });
            let is_refused_differently = record.counts.compare_refusals(&record.rejections, refusals);
            let command = stored.commands.get(offset);
            if stored.range.topic == RawTopic::Devices
                && !self.add_command(raw, command, stored.is_excess(*offset), record)
            {
                continue;
            }
            let is_same_outcome = stored.outcome(*offset) == record.totals;
            if self.scope.is_redrive() || is_refused_differently || !is_same_outcome || !record.documents.is_empty() {
                record.changes.push(of_record(raw));
            }
            if record.is_covered {
                counts.records += 1;
                counts.add(&record.counts);
                changes.append(&mut record.changes);
            }
        }
        Ok(changes)
    }

    /// Compares the device command of a record. Returns whether the record is compared: a command that was accepted keeps its effect,
    /// also if the mapping would refuse it now.
    fn add_command(
        &self,
        raw: RawPosition,
        stored: Option<&StoredCommand>,
        is_excess: bool,
        record: &mut OpenRecord,
    ) -> bool {
        if stored.is_some_and(|command| !self.scope.has_stored_command(command)) {
            return false;
        }
        let Some(command) = record.command.take().filter(|command| self.scope.has_command(command)) else {
            record.is_covered |= !self.scope.is_by_content();
            return stored.is_none() && !is_excess && record.totals.commands == 0;
        };
        let fields = match stored {
            _ if is_excess => return true,
            None => Vec::new(),
            Some(stored) => {
                let fields = command_differences(&command, stored);
                if fields.is_empty() {
                    record.counts.unchanged += 1;
                    return true;
                }
                fields
            }
        };
        record.changes.push(Change {
            kind: ChangeKind::Command,
            subject_id: command.device_key,
            fields: fields.into_iter().map(str::to_owned).collect(),
            device_id: command.device_id.as_ref().map(|id| id.as_str().to_owned()),
            before: stored.map(command_fingerprint),
            ..of_record(raw)
        });
        true
    }
}

fn of_record(raw: RawPosition) -> Change {
    Change {
        raw,
        item: -1,
        kind: ChangeKind::Record,
        subject_id: Uuid::nil(),
        fields: Vec::new(),
        code_system: None,
        code: None,
        display: None,
        device_id: None,
        before: None,
    }
}
