//! Device commands, and the intervals that the fold makes of them.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    event::{Assignment, Command, PatientId},
    format::RawTopic,
    version::Appended,
};
use sqlx::{PgConnection, Row as _, postgres::types::PgRange, types::time::OffsetDateTime};
use std::ops::Bound;
use uuid::Uuid;

use super::moment;
use crate::{
    batch::{Body, Item},
    fold::{DeviceCommand, Folded, fold},
};

pub(super) async fn write(connection: &mut PgConnection, items: &[Item]) -> Result<(), sqlx::Error> {
    let commands: Vec<&Assignment> = items
        .iter()
        .filter_map(|item| match &item.body {
            Body::Assignment(assignment) => Some(assignment.as_ref()),
            Body::Reading(_) | Body::Document(_) | Body::Outcome(_) | Body::Letter(_) | Body::Refused(_) => None,
        })
        .collect();
    if commands.is_empty() {
        return Ok(());
    }
    let devices: Vec<Uuid> =
        commands.iter().map(|command| command.device_key).collect::<BTreeSet<_>>().into_iter().collect();
    // The rows of `devices` are the locks: one sink at a time folds a device.
    sqlx::query("INSERT INTO devices (device_key) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING")
        .bind(&devices)
        .execute(&mut *connection)
        .await?;
    sqlx::query("SELECT FROM devices WHERE device_key = ANY($1) ORDER BY device_key FOR UPDATE")
        .bind(&devices)
        .execute(&mut *connection)
        .await?;
    for command in commands {
        insert(connection, command).await?;
    }
    describe(connection, &devices).await?;
    for (device, commands) in load(connection, &devices).await? {
        store(connection, device, &fold(&commands)).await?;
    }
    Ok(())
}

async fn insert(connection: &mut PgConnection, command: &Assignment) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO device_commands AS c (topic_epoch, raw_partition, raw_offset, device_key, command, provider, \
             device_id, device_type, name, serial_number, features, patient_id, effective_from, received_at, source, \
             subject, mapping_version, key_id) \
         VALUES ($1, $2, $3, $4, $5, $6::provider, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
         ON CONFLICT (topic_epoch, raw_partition, raw_offset) DO UPDATE SET device_key = excluded.device_key, \
             command = excluded.command, provider = excluded.provider, device_id = excluded.device_id, \
             device_type = excluded.device_type, name = excluded.name, serial_number = excluded.serial_number, \
             features = excluded.features, patient_id = excluded.patient_id, effective_from = excluded.effective_from, \
             mapping_version = excluded.mapping_version \
         WHERE c.mapping_version < excluded.mapping_version",
    )
    .bind(command.topic_epoch)
    .bind(command.partition)
    .bind(command.offset)
    .bind(command.device_key)
    .bind(command.command.as_str())
    .bind(command.provider.map(schemas::format::Provider::as_str))
    .bind(command.device_id.as_ref().map(schemas::event::DeviceId::as_str))
    .bind(&command.device_type)
    .bind(&command.name)
    .bind(&command.serial_number)
    .bind(&command.features)
    .bind(command.patient.as_ref().map(PatientId::as_str))
    .bind(moment(command.effective_from.unwrap_or(command.received_at)))
    .bind(moment(command.received_at))
    .bind(command.source.as_str())
    .bind(command.subject.as_ref().map(PatientId::as_str))
    .bind(command.mapping_version)
    .bind(&command.key_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// The last appended assign describes the device.
async fn describe(connection: &mut PgConnection, devices: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE devices d SET provider = c.provider, device_id = c.device_id, device_type = c.device_type, \
             name = c.name, serial_number = c.serial_number, features = c.features \
         FROM (SELECT DISTINCT ON (device_key) * FROM device_commands \
               WHERE device_key = ANY($1) AND command = 'assign' \
               ORDER BY device_key, received_at DESC, topic_epoch DESC, raw_partition DESC, raw_offset DESC) c \
         WHERE d.device_key = c.device_key",
    )
    .bind(devices)
    .execute(connection)
    .await?;
    Ok(())
}

async fn load(
    connection: &mut PgConnection,
    devices: &[Uuid],
) -> Result<BTreeMap<Uuid, Vec<DeviceCommand>>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT device_key, topic_epoch, raw_partition, raw_offset, command, patient_id, subject, \
             (extract(epoch FROM effective_from) * 1000000)::bigint, (extract(epoch FROM received_at) * 1000000)::bigint \
         FROM device_commands WHERE device_key = ANY($1)",
    )
    .bind(devices)
    .fetch_all(connection)
    .await?;
    let mut all: BTreeMap<Uuid, Vec<DeviceCommand>> = devices.iter().map(|device| (*device, Vec::new())).collect();
    let patient = |text: Option<String>| text.and_then(|text| PatientId::parse(&text).ok());
    for row in rows {
        let command: String = row.try_get(4)?;
        all.entry(row.try_get(0)?).or_default().push(DeviceCommand {
            appended: Appended {
                at: row.try_get(8)?,
                topic: RawTopic::Devices,
                topic_epoch: row.try_get(1)?,
                partition: row.try_get(2)?,
                offset: row.try_get(3)?,
                item: 0,
            },
            effective_from: row.try_get(7)?,
            command: Command::from_word(&command).unwrap_or(Command::Unassign),
            patient: patient(row.try_get(5)?),
            subject: patient(row.try_get(6)?),
        });
    }
    Ok(all)
}

async fn store(connection: &mut PgConnection, device: Uuid, folded: &Folded) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM device_assignments WHERE device_key = $1").bind(device).execute(&mut *connection).await?;
    let patients: Vec<&str> = folded.intervals.iter().map(|interval| interval.patient.as_str()).collect();
    let during: Vec<PgRange<OffsetDateTime>> = folded
        .intervals
        .iter()
        .map(|interval| PgRange {
            start: Bound::Included(moment(interval.from)),
            end: interval.until.map_or(Bound::Unbounded, |until| Bound::Excluded(moment(until))),
        })
        .collect();
    sqlx::query(
        "INSERT INTO device_assignments (device_key, patient_id, during) \
         SELECT $1, * FROM unnest($2::text[], $3::tstzrange[])",
    )
    .bind(device)
    .bind(patients)
    .bind(during)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE device_commands c SET verdict = v.verdict \
         FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::text[]) v(epoch, part, place, verdict) \
         WHERE c.topic_epoch = v.epoch AND c.raw_partition = v.part AND c.raw_offset = v.place \
           AND c.verdict IS DISTINCT FROM v.verdict",
    )
    .bind(folded.verdicts.iter().map(|(at, _)| at.topic_epoch).collect::<Vec<_>>())
    .bind(folded.verdicts.iter().map(|(at, _)| at.partition).collect::<Vec<_>>())
    .bind(folded.verdicts.iter().map(|(at, _)| at.offset).collect::<Vec<_>>())
    .bind(folded.verdicts.iter().map(|(_, verdict)| verdict.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
