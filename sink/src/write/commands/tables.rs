//! The tables of device commands: all rows of some devices, and one statement for each kind of change.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use schemas::{
    event::{Assignment, Command, DeviceId, PatientId, SourceName},
    format::{Provider, RawTopic},
    version::Appended,
};
use sqlx::{PgConnection, postgres::types::PgRange, types::time::OffsetDateTime};
use store::Verdict;
use uuid::Uuid;

use super::{CommandPosition, Stored, commands, position};
use crate::{fold::DeviceCommand, item::Item, write::moment};

/// Returns the stored rows of some devices.
pub(super) async fn load(
    connection: &mut PgConnection,
    devices: &[Uuid],
) -> Result<BTreeMap<Uuid, Stored>, sqlx::Error> {
    let mut all: BTreeMap<Uuid, Stored> = BTreeMap::new();
    let rows = sqlx::query!(
        "SELECT device_key, topic_epoch, raw_partition, raw_offset, command, patient_id, subject, source, \
             (extract(epoch FROM effective_from) * 1000000)::bigint AS effective_from, \
             (extract(epoch FROM received_at) * 1000000)::bigint AS \"received_at!\", \
             mapping_version, verdict, provider::text, bound_to::text[] \
         FROM device_commands WHERE device_key = ANY($1)",
        devices
    )
    .fetch_all(&mut *connection)
    .await?;
    let patient = |text: Option<String>| text.and_then(|text| PatientId::parse(&text).ok());
    for row in rows {
        let appended = Appended {
            at: row.received_at,
            topic: RawTopic::Devices,
            topic_epoch: row.topic_epoch,
            partition: row.raw_partition,
            offset: row.raw_offset,
            item: 0,
        };
        let command = DeviceCommand {
            appended,
            source: SourceName::parse(&row.source).map_err(|error| sqlx::Error::Decode(error.into()))?,
            effective_from: row.effective_from,
            command: Command::from_word(&row.command).unwrap_or(Command::Unassign),
            patient: patient(row.patient_id),
            subject: patient(row.subject),
            provider: row.provider.as_deref().and_then(Provider::from_word),
            bound_to: row.bound_to.iter().flatten().filter_map(|word| Provider::from_word(word)).collect(),
        };
        let device = all.entry(row.device_key).or_default();
        device.commands.insert(position(&appended), (command, row.mapping_version, row.verdict));
    }
    let rows = sqlx::query!(
        "SELECT device_key, patient_id, (extract(epoch FROM lower(during)) * 1000000)::bigint AS \"since!\", \
             (extract(epoch FROM upper(during)) * 1000000)::bigint AS until \
         FROM device_assignments WHERE device_key = ANY($1)",
        devices
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        all.entry(row.device_key).or_default().intervals.insert((row.patient_id, row.since, row.until));
    }
    Ok(all)
}

/// Returns when the records at the positions of the commands were appended, for the commands that are stored.
pub(super) async fn appended(
    connection: &mut PgConnection,
    items: &[Item],
) -> Result<BTreeMap<CommandPosition, i64>, sqlx::Error> {
    let commands = || commands(items).map(|(_, command)| command);
    let rows = sqlx::query!(
        "SELECT topic_epoch, raw_partition, raw_offset, (extract(epoch FROM received_at) * 1000000)::bigint AS \"received_at!\" \
         FROM device_commands WHERE (topic_epoch, raw_partition, raw_offset) IN \
             (SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[]))",
        &commands().map(|command| command.topic_epoch).collect::<Vec<_>>(),
        &commands().map(|command| command.partition).collect::<Vec<_>>(),
        &commands().map(|command| command.offset).collect::<Vec<_>>()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .iter()
        .map(|row| {
            (
                CommandPosition { topic_epoch: row.topic_epoch, partition: row.raw_partition, offset: row.raw_offset },
                row.received_at,
            )
        })
        .collect())
}

pub(super) async fn upsert(
    connection: &mut PgConnection,
    commands: &[(&Assignment, Verdict)],
) -> Result<(), sqlx::Error> {
    let texts = |pick: for<'e> fn(&'e Assignment) -> Option<&'e str>| -> Vec<Option<&str>> {
        commands.iter().map(|(event, _)| pick(event)).collect()
    };
    let times = |pick: fn(&Assignment) -> Option<i64>| -> Vec<Option<OffsetDateTime>> {
        commands.iter().map(|(event, _)| pick(event).map(moment)).collect()
    };
    sqlx::query!(
        "INSERT INTO device_commands AS c (topic_epoch, raw_partition, raw_offset, device_key, command, provider, \
             device_id, device_type, name, serial_number, features, patient_id, effective_from, received_at, source, \
             subject, mapping_version, key_id, verdict, bound_to) \
         SELECT epoch, partition, log_offset, device, command, provider::provider, device_id, device_type, name, serial_number, \
             features, patient_id, effective_from, received_at, source, subject, mapping_version, key_id, verdict, \
             string_to_array(bound_to, ',')::provider[] \
         FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::text[], \
             $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[], \
             $15::text[], $16::text[], $17::integer[], $18::text[], $19::text[], $20::text[]) \
             n(epoch, partition, log_offset, device, command, provider, device_id, device_type, name, serial_number, features, \
               patient_id, effective_from, received_at, source, subject, mapping_version, key_id, verdict, bound_to) \
         ON CONFLICT (topic_epoch, raw_partition, raw_offset) DO UPDATE SET device_key = excluded.device_key, \
             command = excluded.command, provider = excluded.provider, device_id = excluded.device_id, \
             device_type = excluded.device_type, name = excluded.name, serial_number = excluded.serial_number, \
             features = excluded.features, patient_id = excluded.patient_id, effective_from = excluded.effective_from, \
             mapping_version = excluded.mapping_version, verdict = excluded.verdict \
         WHERE c.mapping_version < excluded.mapping_version",
        commands.iter().map(|(event, _)| event.topic_epoch).collect::<Vec<_>>() as _,
        commands.iter().map(|(event, _)| event.partition).collect::<Vec<_>>() as _,
        commands.iter().map(|(event, _)| event.offset).collect::<Vec<_>>() as _,
        commands.iter().map(|(event, _)| event.device_key).collect::<Vec<_>>() as _,
        texts(|event| Some(event.command.as_str())) as _,
        texts(|event| event.provider.map(Provider::as_str)) as _,
        texts(|event| event.device_id.as_ref().map(DeviceId::as_str)) as _,
        texts(|event| event.device_type.as_deref()) as _,
        texts(|event| event.name.as_deref()) as _,
        texts(|event| event.serial_number.as_deref()) as _,
        texts(|event| event.features.as_deref()) as _,
        texts(|event| event.patient.as_ref().map(PatientId::as_str)) as _,
        times(|event| event.effective_from) as _,
        times(|event| Some(event.received_at)) as _,
        texts(|event| Some(event.source.as_str())) as _,
        texts(|event| event.subject.as_ref().map(PatientId::as_str)) as _,
        commands.iter().map(|(event, _)| event.mapping_version).collect::<Vec<_>>() as _,
        texts(|event| event.key_id.as_deref()) as _,
        commands.iter().map(|(_, verdict)| verdict.as_str()).collect::<Vec<_>>() as _,
        commands.iter().map(|(event, _)| bound_to(event)).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The providers as one text, because Postgres has no arrays of arrays of different lengths.
fn bound_to(event: &Assignment) -> Option<String> {
    let words: Vec<&str> = event.bound_to.iter().map(|provider| provider.as_str()).collect();
    (!words.is_empty()).then(|| words.join(","))
}

/// Deletes the rows that were inserted as locks for devices that no command assigns.
pub(super) async fn delete_unknown_devices(connection: &mut PgConnection, unknown: &[Uuid]) -> Result<(), sqlx::Error> {
    if !unknown.is_empty() {
        sqlx::query!("DELETE FROM devices WHERE device_key = ANY($1)", unknown).execute(connection).await?;
    }
    Ok(())
}

pub(super) async fn delete_commands(
    connection: &mut PgConnection,
    positions: &[CommandPosition],
) -> Result<(), sqlx::Error> {
    if positions.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "DELETE FROM device_commands WHERE (topic_epoch, raw_partition, raw_offset) IN \
         (SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[]))",
        positions.iter().map(|position| position.topic_epoch).collect::<Vec<_>>() as _,
        positions.iter().map(|position| position.partition).collect::<Vec<_>>() as _,
        positions.iter().map(|position| position.offset).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records positions as runs of adjacent offsets.
pub(super) async fn insert_excess(
    connection: &mut PgConnection,
    positions: &BTreeSet<CommandPosition>,
) -> Result<(), sqlx::Error> {
    let mut runs: Vec<(CommandPosition, i64)> = Vec::new();
    for position in positions {
        match runs.last_mut() {
            Some((first, last)) if (CommandPosition { offset: *last + 1, ..*first }) == *position => {
                *last = position.offset;
            }
            Some(_) | None => runs.push((*position, position.offset)),
        }
    }
    sqlx::query!(
        "INSERT INTO excess_commands AS e (topic_epoch, raw_partition, first_offset, last_offset) \
         SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[]) \
         ON CONFLICT (topic_epoch, raw_partition, first_offset) DO UPDATE SET last_offset = excluded.last_offset \
         WHERE e.last_offset < excluded.last_offset",
        runs.iter().map(|(first, _)| first.topic_epoch).collect::<Vec<_>>() as _,
        runs.iter().map(|(first, _)| first.partition).collect::<Vec<_>>() as _,
        runs.iter().map(|(first, _)| first.offset).collect::<Vec<_>>() as _,
        runs.iter().map(|(_, last)| *last).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Describes each device by the assign command that was appended last.
pub(super) async fn update_descriptions(connection: &mut PgConnection, devices: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE devices d SET provider = c.provider, device_id = c.device_id, device_type = c.device_type, \
             name = c.name, serial_number = c.serial_number, features = c.features \
         FROM (SELECT DISTINCT ON (device_key) * FROM device_commands \
               WHERE device_key = ANY($1) AND command = 'assign' \
               ORDER BY device_key, received_at DESC, topic_epoch DESC, raw_partition DESC, raw_offset DESC) c \
         WHERE d.device_key = c.device_key \
           AND (d.provider, d.device_id, d.device_type, d.name, d.serial_number, d.features) IS DISTINCT FROM \
               (c.provider, c.device_id, c.device_type, c.name, c.serial_number, c.features)",
        devices as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn set_verdicts(
    connection: &mut PgConnection,
    verdicts: &[(CommandPosition, Verdict)],
) -> Result<(), sqlx::Error> {
    if verdicts.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE device_commands c SET verdict = v.verdict \
         FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::text[]) v(epoch, partition, log_offset, verdict) \
         WHERE c.topic_epoch = v.epoch AND c.raw_partition = v.partition AND c.raw_offset = v.log_offset",
        verdicts.iter().map(|(position, _)| position.topic_epoch).collect::<Vec<_>>() as _,
        verdicts.iter().map(|(position, _)| position.partition).collect::<Vec<_>>() as _,
        verdicts.iter().map(|(position, _)| position.offset).collect::<Vec<_>>() as _,
        verdicts.iter().map(|(_, verdict)| verdict.as_str()).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn change_intervals(
    connection: &mut PgConnection,
    statement: &str,
    intervals: &[(Uuid, String, i64, Option<i64>)],
    stored_at: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let during = |(_, _, from, until): &(Uuid, String, i64, Option<i64>)| PgRange {
        start: Bound::Included(moment(*from)),
        end: until.map_or(Bound::Unbounded, |until| Bound::Excluded(moment(until))),
    };
    sqlx::query(statement)
        .bind(intervals.iter().map(|(device, ..)| *device).collect::<Vec<_>>())
        .bind(intervals.iter().map(|(_, patient, ..)| patient.as_str()).collect::<Vec<_>>())
        .bind(intervals.iter().map(during).collect::<Vec<_>>())
        .bind(stored_at)
        .execute(connection)
        .await?;
    Ok(())
}
