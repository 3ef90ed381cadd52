//! Writes device commands, and the intervals that the fold computes from them. Only rows that differ from the stored ones are
//! written.

mod tables;

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    event::{Assignment, Command},
    format::RawTopic,
    version::Appended,
};
use sqlx::{PgConnection, types::time::OffsetDateTime};
use store::Verdict;
use uuid::Uuid;

use crate::{
    fold::{DeviceCommand, Folded, fold, limit_per_day},
    item::{Body, Item, Origin, Partition},
    write::{Verdicts, WriteError},
};

/// The position of the raw record of a command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CommandPosition {
    topic_epoch: i32,
    partition: i32,
    offset: i64,
}

impl CommandPosition {
    const fn of(command: &Assignment) -> Self {
        let Assignment { topic_epoch, partition, offset, .. } = *command;
        Self { topic_epoch, partition, offset }
    }
}

/// The number of devices whose commands are held in memory at once.
const DEVICES_AT_ONCE: usize = 256;

/// The stored rows of one device.
#[derive(Default)]
struct Stored {
    /// Command, mapping version, verdict.
    commands: BTreeMap<CommandPosition, (DeviceCommand, i32, Option<String>)>,
    /// Patient, from, until.
    intervals: BTreeSet<(String, i64, Option<i64>)>,
}

/// The rows that have to change.
#[derive(Default)]
struct Changes<'a> {
    /// New commands, and those that a better mapping has changed, with the verdict.
    upserts: Vec<(&'a Assignment, Verdict)>,
    /// Stored commands that earlier ones displace from the daily limit of their source.
    displaced: Vec<CommandPosition>,
    /// Commands beyond the daily limit, which are not stored.
    excess: BTreeSet<CommandPosition>,
    /// Stored commands whose verdict has changed.
    changed_verdicts: Vec<(CommandPosition, Verdict)>,
    ended_intervals: Vec<(Uuid, String, i64, Option<i64>)>,
    begun_intervals: Vec<(Uuid, String, i64, Option<i64>)>,
    /// Devices that no command assigns.
    unknown_devices: Vec<Uuid>,
}

/// Writes the commands among the items. Returns the verdicts that were given or changed.
pub(super) async fn write(
    connection: &mut PgConnection,
    items: &[Item],
    stored_at: OffsetDateTime,
) -> Result<Verdicts, WriteError> {
    let received = by_device(items);
    let mut verdicts = Verdicts::default();
    if received.is_empty() {
        return Ok(verdicts);
    }
    let reused = reused(items, tables::appended(connection, items).await?);
    if !reused.is_empty() {
        return Err(WriteError::PositionsReused(reused));
    }
    let devices: Vec<Uuid> = received.keys().copied().collect();
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
            if let Some(commands) = received.get(device) {
                changes.add_device(*device, commands, stored.remove(device).unwrap_or_default());
            }
        }
        changes.count(&mut verdicts);
        changes.apply(connection, devices, stored_at).await?;
    }
    Ok(verdicts)
}

/// The commands among the items, each with its position on the event topic.
fn commands(items: &[Item]) -> impl Iterator<Item = (Origin, &Assignment)> {
    items.iter().filter_map(|item| match &item.body {
        Body::Assignment(command) => Some((item.origin, command.as_ref())),
        Body::Reading(_) | Body::Document(_) | Body::Outcome(_) | Body::DeadLetter(_) | Body::Refused(_) => None,
    })
}

/// The event positions of commands at whose raw position another command is stored. A record is appended once, so another
/// append time means another record.
fn reused(items: &[Item], mut appended: BTreeMap<CommandPosition, i64>) -> Vec<(Partition, i64)> {
    let mut is_other = |command: &Assignment| {
        *appended.entry(CommandPosition::of(command)).or_insert(command.received_at) != command.received_at
    };
    commands(items)
        .filter(|(_, command)| is_other(command))
        .map(|(origin, _)| (origin.partition, origin.offset))
        .collect()
}

/// The commands among the items by device and position; for each position the one with the higher mapping version.
fn by_device(items: &[Item]) -> BTreeMap<Uuid, BTreeMap<CommandPosition, &Assignment>> {
    let mut by_device: BTreeMap<Uuid, BTreeMap<CommandPosition, &Assignment>> = BTreeMap::new();
    for (_, command) in commands(items) {
        let position = CommandPosition::of(command);
        let known = by_device.entry(command.device_key).or_default().entry(position).or_insert(command);
        if known.mapping_version < command.mapping_version {
            *known = command;
        }
    }
    by_device
}

const fn position(appended: &Appended) -> CommandPosition {
    let Appended { topic_epoch, partition, offset, .. } = *appended;
    CommandPosition { topic_epoch, partition, offset }
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
    fn add_device(&mut self, device: Uuid, received: &BTreeMap<CommandPosition, &'a Assignment>, stored: Stored) {
        let Stored { commands: stored, intervals } = stored;
        let is_new = |(position, event): &(&CommandPosition, &&Assignment)| {
            stored.get(*position).is_none_or(|(_, mapping_version, _)| *mapping_version < event.mapping_version)
        };
        let new: BTreeMap<CommandPosition, &Assignment> =
            received.iter().filter(is_new).map(|(position, event)| (*position, *event)).collect();
        let others = stored.iter().filter(|(position, _)| !new.contains_key(position));
        let all = others.map(|(_, (command, _, _))| command.clone()).chain(new.values().map(|event| command(event)));
        let (within, excess) = limit_per_day(all.collect());
        if within.iter().all(|command| command.command != Command::Assign) {
            self.unknown_devices.push(device);
        }
        self.excess.extend(excess.iter().map(position));
        self.displaced.extend(excess.iter().map(position).filter(|excess| stored.contains_key(excess)));
        let Folded { intervals: folded, verdicts } = fold(&within);
        for (at, verdict) in verdicts {
            let position = position(&at);
            match (new.get(&position), stored.get(&position)) {
                (Some(event), _) => self.upserts.push((event, verdict)),
                (None, Some((_, _, known))) if known.as_deref() == Some(verdict.as_str()) => {}
                (None, _) => self.changed_verdicts.push((position, verdict)),
            }
        }
        let folded: BTreeSet<(String, i64, Option<i64>)> = folded
            .into_iter()
            .map(|interval| (interval.patient.as_str().to_owned(), interval.from, interval.until))
            .collect();
        let of_device = |(patient, from, until): &(String, i64, Option<i64>)| (device, patient.clone(), *from, *until);
        self.ended_intervals.extend(intervals.difference(&folded).map(of_device));
        self.begun_intervals.extend(folded.difference(&intervals).map(of_device));
    }

    fn count(&self, verdicts: &mut Verdicts) {
        let verdicts_given = self
            .upserts
            .iter()
            .map(|(_, verdict)| *verdict)
            .chain(self.changed_verdicts.iter().map(|(_, verdict)| *verdict));
        verdicts_given.for_each(|verdict| verdicts.add(verdict, 1));
        verdicts.add(Verdict::TooManyCommands, self.excess.len() as u64);
    }

    async fn apply(
        self,
        connection: &mut PgConnection,
        devices: &[Uuid],
        stored_at: OffsetDateTime,
    ) -> Result<(), sqlx::Error> {
        if !self.excess.is_empty() {
            tables::delete_commands(connection, &self.displaced).await?;
            tables::insert_excess(connection, &self.excess).await?;
        }
        if !self.upserts.is_empty() {
            tables::upsert(connection, &self.upserts).await?;
        }
        if !self.upserts.is_empty() || !self.displaced.is_empty() {
            tables::update_descriptions(connection, devices).await?;
        }
        tables::set_verdicts(connection, &self.changed_verdicts).await?;
        tables::delete_unknown_devices(connection, &self.unknown_devices).await?;
        // An interval that ends goes on to say what was known until now.
        let delete = "WITH gone AS (DELETE FROM device_assignments a \
                USING unnest($1::uuid[], $2::text[], $3::tstzrange[]) n(device, patient, during) \
                WHERE a.device_key = n.device AND a.patient_id = n.patient AND a.during = n.during RETURNING a.*) \
            INSERT INTO assignment_history (device_key, patient_id, during, stored_at, replaced_at) \
            SELECT device_key, patient_id, during, stored_at, $4 FROM gone";
        let insert = "INSERT INTO device_assignments (device_key, patient_id, during, stored_at) \
            SELECT *, $4 FROM unnest($1::uuid[], $2::text[], $3::tstzrange[])";
        // Intervals are deleted first, to make room for the new ones.
        for (statement, intervals) in [(delete, &self.ended_intervals), (insert, &self.begun_intervals)] {
            if !intervals.is_empty() {
                tables::change_intervals(connection, statement, intervals, stored_at).await?;
            }
        }
        Ok(())
    }
}
