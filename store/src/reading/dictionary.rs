//! The dictionaries of codes and devices, to which readings refer by id. Each statement commits by itself: an entry without a
//! reading does no harm, and an entry in an open transaction would block every sink that needs the same entry.

use std::collections::{BTreeMap, HashMap};

use schemas::{
    event::{Coding, Device},
    identity::ContentDigest,
};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

/// The known ids of dictionary entries.
#[derive(Default)]
pub struct Dictionary {
    codings: HashMap<Coding, i64>,
    devices: HashMap<Device, i64>,
}

impl Dictionary {
    /// Returns the number of entries whose id is known.
    #[must_use]
    pub fn cached_len(&self) -> usize {
        self.codings.len() + self.devices.len()
    }

    /// Returns the ids of all these codings. A coding without an id gets one.
    ///
    /// # Errors
    /// Postgres is unavailable.
    pub async fn coding_ids(
        &mut self,
        connection: &mut PgConnection,
        entries: &[Coding],
    ) -> Result<Vec<i64>, sqlx::Error> {
        let new: BTreeMap<Uuid, &Coding> = entries
            .iter()
            .filter(|entry| !self.codings.contains_key(entry))
            .map(|entry| (coding_hash(entry), entry))
            .collect();
        add_coding_ids(connection, &mut self.codings, new).await?;
        known_ids(&self.codings, entries)
    }

    /// Returns the ids of all these devices. A device without an id gets one.
    ///
    /// # Errors
    /// Postgres is unavailable.
    pub async fn device_ids(
        &mut self,
        connection: &mut PgConnection,
        entries: &[Device],
    ) -> Result<Vec<i64>, sqlx::Error> {
        let new: BTreeMap<Uuid, &Device> = entries
            .iter()
            .filter(|entry| !self.devices.contains_key(entry))
            .map(|entry| (device_hash(entry), entry))
            .collect();
        add_device_ids(connection, &mut self.devices, new).await?;
        known_ids(&self.devices, entries)
    }
}

fn known_ids<T: Eq + std::hash::Hash>(known: &HashMap<T, i64>, entries: &[T]) -> Result<Vec<i64>, sqlx::Error> {
    entries.iter().map(|entry| known.get(entry).copied().ok_or(sqlx::Error::RowNotFound)).collect()
}

/// Looks up the entries, and inserts the missing ones. The lookup comes first because an insert that conflicts would still use up an
/// id.
async fn add_coding_ids(
    connection: &mut PgConnection,
    codings: &mut HashMap<Coding, i64>,
    mut new: BTreeMap<Uuid, &Coding>,
) -> Result<(), sqlx::Error> {
    let select = "SELECT hash, coding_id FROM codings WHERE hash = ANY($1)";
    move_known(connection, select, codings, &mut new).await?;
    if new.is_empty() {
        return Ok(());
    }
    let column =
        |pick: fn(&Coding) -> Option<&str>| -> Vec<Option<&str>> { new.values().map(|entry| pick(entry)).collect() };
    // Rows are inserted in the order of the hash, so that two sinks cannot deadlock.
    sqlx::query!(
        "INSERT INTO codings (hash, system, code, display) \
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) ON CONFLICT (hash) DO NOTHING",
        new.keys().copied().collect::<Vec<_>>() as _,
        column(|coding| Some(&coding.system)) as _,
        column(|coding| Some(&coding.code)) as _,
        column(|coding| coding.display.as_deref()) as _
    )
    .execute(&mut *connection)
    .await?;
    move_known(connection, select, codings, &mut new).await
}

async fn add_device_ids(
    connection: &mut PgConnection,
    devices: &mut HashMap<Device, i64>,
    mut new: BTreeMap<Uuid, &Device>,
) -> Result<(), sqlx::Error> {
    let select = "SELECT hash, description_id FROM device_descriptions WHERE hash = ANY($1)";
    move_known(connection, select, devices, &mut new).await?;
    if new.is_empty() {
        return Ok(());
    }
    let column =
        |pick: fn(&Device) -> Option<&str>| -> Vec<Option<&str>> { new.values().map(|entry| pick(entry)).collect() };
    sqlx::query!(
        "INSERT INTO device_descriptions (hash, device_key, device_id, manufacturer, model, serial) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[]) \
         ON CONFLICT (hash) DO NOTHING",
        new.keys().copied().collect::<Vec<_>>() as _,
        new.values().map(|device| device.key).collect::<Vec<_>>() as _,
        column(|device| Some(device.id.as_str())) as _,
        column(|device| device.manufacturer.as_deref()) as _,
        column(|device| device.model.as_deref()) as _,
        column(|device| device.serial.as_deref()) as _
    )
    .execute(&mut *connection)
    .await?;
    move_known(connection, select, devices, &mut new).await
}

/// Moves the entries that have an id in the database from `new` to `known`.
async fn move_known<T: Clone + Eq + std::hash::Hash>(
    connection: &mut PgConnection,
    statement: &str,
    known: &mut HashMap<T, i64>,
    new: &mut BTreeMap<Uuid, &T>,
) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    let found = sqlx::query(statement).bind(new.keys().copied().collect::<Vec<_>>()).fetch_all(connection).await?;
    for row in found {
        if let Some(entry) = new.remove(&row.try_get(0)?) {
            known.insert(T::clone(entry), row.try_get(1)?);
        }
    }
    Ok(())
}

/// The hash by which a coding is unique.
fn coding_hash(coding: &Coding) -> Uuid {
    let mut content = ContentDigest::default();
    content.literal(&coding.system);
    content.literal(&coding.code);
    content.optional(coding.display.as_deref());
    Uuid::from_bytes(content.finish())
}

/// The hash by which the description of a device is unique.
fn device_hash(device: &Device) -> Uuid {
    let mut content = ContentDigest::default();
    content.literal(&device.key.to_string());
    content.literal(device.id.as_str());
    content.optional(device.manufacturer.as_deref());
    content.optional(device.model.as_deref());
    content.optional(device.serial.as_deref());
    Uuid::from_bytes(content.finish())
}
