//! Writes device commands, and the intervals that the fold computes from them. Only rows that differ from the stored ones are
//! written.

mod tables;

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    event::{Assignment, Command},
    format::RawTopic,
    version::Appended,
};
use sqlx::PgConnection;
use store::Verdict;
use uuid::Uuid;

use crate::{
    fold::{DeviceCommand, Folded, bound, fold},
    item::{Body, Item, Origin, Partition},
    write::{Verdicts, WriteError},
};

/// Topic epoch, partition and offset of a command.
type Position = (i32, i32, i64);

/// The number of devices whose commands are held in memory at once.
const DEVICES_AT_ONCE: usize = 256;

/// The stored rows of one device.
#[derive(Default)]
struct Stored {
    /// Command, mapping version, verdict.
    commands: BTreeMap<Position, (DeviceCommand, i32, Option<String>)>,
    /// Patient, from, until.
    intervals: BTreeSet<(String, i64, Option<i64>)>,
}

/// The rows that have to change.
#[derive(Default)]
struct Changes<'a> {
    /// New commands, and those that a better mapping has changed, with the verdict.
    put: Vec<(&'a Assignment, Verdict)>,
    /// Stored commands that earlier ones displace from the daily limit of their source.
    pushed_out: Vec<Position>,
    /// Commands beyond the daily limit, which are not stored.
    excess: BTreeSet<Position>,
    verdicts: Vec<(Position, Verdict)>,
    ended: Vec<(Uuid, String, i64, Option<i64>)>,
    begun: Vec<(Uuid, String, i64, Option<i64>)>,
    /// Devices that no command assigns.
    unknown: Vec<Uuid>,
}

/// Writes the commands among the items. Returns the verdicts that were given or changed.
pub(super) async fn write(connection: &mut PgConnection, items: &[Item]) -> Result<Verdicts, WriteError> {
    let given = given(items);
    let mut verdicts = Verdicts::default();
    if given.is_empty() {
        return Ok(verdicts);
    }
    let reused = reused(items, tables::appended(connection, items).await?);
    if !reused.is_empty() {
        return Err(WriteError::PositionsReused(reused));
    }
    let devices: Vec<Uuid> = given.keys().copied().collect();
    // The rows of `devices` are used as locks: only one sink at a time folds the commands of a device.
    sqlx::query!("INSERT INTO devices (device_key) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING", &devices as _)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("SELECT FROM devices WHERE device_key = ANY($1) ORDER BY device_key FOR UPDATE", &devices as _)
        .execute(&mut *connection)
        .await?;
    for devices in devices.chunks(DEVICES_AT_ONCE) {
        let mut stored = tables::load(connection, devices).await?;
        let mut changes = Changes::default();
        for device in devices {
            if let Some(commands) = given.get(device) {
                changes.of(*device, commands, stored.remove(device).unwrap_or_default());
            }
        }
        changes.count(&mut verdicts);
        changes.carry_out(connection, devices).await?;
    }
    Ok(verdicts)
}

/// The commands among the items, each with its position on the event topic.
fn commands(items: &[Item]) -> impl Iterator<Item = (Origin, &Assignment)> {
    items.iter().filter_map(|item| match &item.body {
        Body::Assignment(command) => Some((item.origin, command.as_ref())),
        Body::Reading(_) | Body::Document(_) | Body::Outcome(_) | Body::Letter(_) | Body::Refused(_) => None,
    })
}

/// The event positions of commands at whose raw position another command is stored. A record is appended once, so another
/// append time means another record.
fn reused(items: &[Item], mut appended: BTreeMap<Position, i64>) -> Vec<(Partition, i64)> {
    let mut is_other = |command: &Assignment| {
        let position = (command.topic_epoch, command.partition, command.offset);
        *appended.entry(position).or_insert(command.received_at) != command.received_at
    };
    commands(items).filter(|(_, command)| is_other(command)).map(|(origin, _)| (origin.place, origin.offset)).collect()
}

/// The commands among the items by device and position; for each position the one with the higher mapping version.
fn given(items: &[Item]) -> BTreeMap<Uuid, BTreeMap<Position, &Assignment>> {
    let mut given: BTreeMap<Uuid, BTreeMap<Position, &Assignment>> = BTreeMap::new();
    for (_, command) in commands(items) {
        let position = (command.topic_epoch, command.partition, command.offset);
        let known = given.entry(command.device_key).or_default().entry(position).or_insert(command);
        if known.mapping_version < command.mapping_version {
            *known = command;
        }
    }
    given
}

const fn position(at: &Appended) -> Position {
    (at.topic_epoch, at.partition, at.offset)
}

fn command(event: &Assignment) -> DeviceCommand {
    DeviceCommand {
        appended: Appended {
            at: event.received_at,
            topic: RawTopic::Devices,
            topic_epoch: event.topic_epoch,
            partition: event.partition,
            offset: event.offset,
            item: 0,
        },
        source: event.source.clone(),
        effective_from: event.effective_from,
        command: event.command,
        patient: event.patient.clone(),
        subject: event.subject.clone(),
        provider: event.provider,
        bound_to: event.bound_to.clone(),
    }
}

impl<'a> Changes<'a> {
    /// Adds the changes for one device.
    fn of(&mut self, device: Uuid, given: &BTreeMap<Position, &'a Assignment>, stored: Stored) {
        let Stored { commands: stored, intervals } = stored;
        let is_new = |(position, event): &(&Position, &&Assignment)| {
            stored.get(*position).is_none_or(|(_, mapping_version, _)| *mapping_version < event.mapping_version)
        };
        let new: BTreeMap<Position, &Assignment> =
            given.iter().filter(is_new).map(|(position, event)| (*position, *event)).collect();
        let others = stored.iter().filter(|(position, _)| !new.contains_key(position));
        let all = others.map(|(_, (command, _, _))| command.clone()).chain(new.values().map(|event| command(event)));
        let (within, excess) = bound(all.collect());
        if within.iter().all(|command| command.command != Command::Assign) {
            self.unknown.push(device);
        }
        self.excess.extend(excess.iter().map(position));
        self.pushed_out.extend(excess.iter().map(position).filter(|excess| stored.contains_key(excess)));
        let Folded { intervals: folded, verdicts } = fold(&within);
        for (at, verdict) in verdicts {
            let position = position(&at);
            match (new.get(&position), stored.get(&position)) {
                (Some(event), _) => self.put.push((event, verdict)),
                (None, Some((_, _, known))) if known.as_deref() == Some(verdict.as_str()) => {}
                (None, _) => self.verdicts.push((position, verdict)),
            }
        }
        let folded: BTreeSet<(String, i64, Option<i64>)> =
            folded.into_iter().map(|one| (one.patient.as_str().to_owned(), one.from, one.until)).collect();
        let of_device = |(patient, from, until): &(String, i64, Option<i64>)| (device, patient.clone(), *from, *until);
        self.ended.extend(intervals.difference(&folded).map(of_device));
        self.begun.extend(folded.difference(&intervals).map(of_device));
    }

    fn count(&self, verdicts: &mut Verdicts) {
        let given =
            self.put.iter().map(|(_, verdict)| *verdict).chain(self.verdicts.iter().map(|(_, verdict)| *verdict));
        given.for_each(|verdict| verdicts.add(verdict, 1));
        verdicts.add(Verdict::TooManyCommands, self.excess.len() as u64);
    }

    async fn carry_out(self, connection: &mut PgConnection, devices: &[Uuid]) -> Result<(), sqlx::Error> {
        if !self.excess.is_empty() {
            tables::delete(connection, &self.pushed_out).await?;
            tables::keep_excess(connection, &self.excess).await?;
        }
        if !self.put.is_empty() {
            tables::put(connection, &self.put).await?;
        }
        if !self.put.is_empty() || !self.pushed_out.is_empty() {
            tables::describe(connection, devices).await?;
        }
        tables::set_verdicts(connection, &self.verdicts).await?;
        tables::forget(connection, &self.unknown).await?;
        let delete = "DELETE FROM device_assignments a USING unnest($1::uuid[], $2::text[], $3::tstzrange[]) n(device, patient, during) \
            WHERE a.device_key = n.device AND a.patient_id = n.patient AND a.during = n.during";
        let insert = "INSERT INTO device_assignments (device_key, patient_id, during) \
            SELECT * FROM unnest($1::uuid[], $2::text[], $3::tstzrange[])";
        // Intervals are deleted first, to make room for the new ones.
        for (statement, intervals) in [(delete, &self.ended), (insert, &self.begun)] {
            if !intervals.is_empty() {
                tables::change_intervals(connection, statement, intervals).await?;
            }
        }
        Ok(())
    }
}
