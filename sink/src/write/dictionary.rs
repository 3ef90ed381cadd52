//! Codes and devices that readings name by number.

use std::collections::{BTreeMap, HashMap};

use schemas::event::{Coding, Device};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::row::{coding_hash, device_hash};

/// The numbers of dictionary entries.
#[derive(Default)]
pub(super) struct Dictionary {
    codings: HashMap<Coding, i64>,
    devices: HashMap<Device, i64>,
}

impl Dictionary {
    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.codings.len() + self.devices.len()
    }

    /// The numbers of all these codings, which are given one where they have none.
    pub(super) async fn codings(
        &mut self,
        connection: &mut PgConnection,
        entries: &[Coding],
    ) -> Result<Vec<i64>, sqlx::Error> {
        let new: BTreeMap<Uuid, &Coding> = entries
            .iter()
            .filter(|entry| !self.codings.contains_key(entry))
            .map(|entry| (coding_hash(entry), entry))
            .collect();
        learn_codings(connection, &mut self.codings, &new).await?;
        numbers(&self.codings, entries)
    }

    /// The numbers of all these devices, which are given one where they have none.
    pub(super) async fn devices(
        &mut self,
        connection: &mut PgConnection,
        entries: &[Device],
    ) -> Result<Vec<i64>, sqlx::Error> {
        let new: BTreeMap<Uuid, &Device> = entries
            .iter()
            .filter(|entry| !self.devices.contains_key(entry))
            .map(|entry| (device_hash(entry), entry))
            .collect();
        learn_devices(connection, &mut self.devices, &new).await?;
        numbers(&self.devices, entries)
    }
}

fn numbers<T: Eq + std::hash::Hash>(known: &HashMap<T, i64>, entries: &[T]) -> Result<Vec<i64>, sqlx::Error> {
    entries.iter().map(|entry| known.get(entry).copied().ok_or(sqlx::Error::RowNotFound)).collect()
}

async fn learn_codings(
    connection: &mut PgConnection,
    codings: &mut HashMap<Coding, i64>,
    new: &BTreeMap<Uuid, &Coding>,
) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    let hashes: Vec<Uuid> = new.keys().copied().collect();
    let column =
        |pick: fn(&Coding) -> Option<&str>| -> Vec<Option<&str>> { new.values().map(|one| pick(one)).collect() };
    // In order of the hash, so that two sinks cannot lock each other out.
    sqlx::query(
        "INSERT INTO codings (hash, system, code, display) \
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) ON CONFLICT (hash) DO NOTHING",
    )
    .bind(&hashes)
    .bind(column(|one| Some(&one.system)))
    .bind(column(|one| Some(&one.code)))
    .bind(column(|one| one.display.as_deref()))
    .execute(&mut *connection)
    .await?;
    let ids = sqlx::query("SELECT hash, coding_id FROM codings WHERE hash = ANY($1)").bind(&hashes);
    for row in ids.fetch_all(connection).await? {
        if let Some(coding) = new.get(&row.try_get(0)?) {
            codings.insert(Coding::clone(coding), row.try_get(1)?);
        }
    }
    Ok(())
}

async fn learn_devices(
    connection: &mut PgConnection,
    devices: &mut HashMap<Device, i64>,
    new: &BTreeMap<Uuid, &Device>,
) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    let hashes: Vec<Uuid> = new.keys().copied().collect();
    let column =
        |pick: fn(&Device) -> Option<&str>| -> Vec<Option<&str>> { new.values().map(|one| pick(one)).collect() };
    sqlx::query(
        "INSERT INTO device_descriptions (hash, device_key, device_id, manufacturer, model, serial) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[]) \
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(&hashes)
    .bind(new.values().map(|one| one.key).collect::<Vec<_>>())
    .bind(column(|one| Some(one.id.as_str())))
    .bind(column(|one| one.manufacturer.as_deref()))
    .bind(column(|one| one.model.as_deref()))
    .bind(column(|one| one.serial.as_deref()))
    .execute(&mut *connection)
    .await?;
    let ids = sqlx::query("SELECT hash, description_id FROM device_descriptions WHERE hash = ANY($1)").bind(&hashes);
    for row in ids.fetch_all(connection).await? {
        if let Some(device) = new.get(&row.try_get(0)?) {
            devices.insert(Device::clone(device), row.try_get(1)?);
        }
    }
    Ok(())
}
