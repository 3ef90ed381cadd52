//! Codes and devices that readings name by number.

use std::collections::BTreeMap;

use schemas::event::{Coding, Device};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::row::{Dictionary, Row, coding_hash, device_hash};

/// Makes sure that every code and device of the rows has a number.
pub(super) async fn learn(
    connection: &mut PgConnection,
    dictionary: &mut Dictionary,
    rows: &[&Row],
) -> Result<(), sqlx::Error> {
    let mut codings: BTreeMap<Uuid, &Coding> = BTreeMap::new();
    let mut devices: BTreeMap<Uuid, &Device> = BTreeMap::new();
    for reading in rows.iter().map(|row| &row.reading) {
        let parts = reading.components.iter().map(|part| &part.code);
        for coding in std::iter::once(&reading.code).chain(parts) {
            let hash = coding_hash(coding);
            if !dictionary.codings.contains_key(&hash) {
                codings.insert(hash, coding);
            }
        }
        for device in reading.device.iter().chain(&reading.gateway) {
            let hash = device_hash(device);
            if !dictionary.devices.contains_key(&hash) {
                devices.insert(hash, device);
            }
        }
    }
    learn_codings(connection, dictionary, &codings).await?;
    learn_devices(connection, dictionary, &devices).await
}

async fn learn_codings(
    connection: &mut PgConnection,
    dictionary: &mut Dictionary,
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
        dictionary.codings.insert(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(())
}

async fn learn_devices(
    connection: &mut PgConnection,
    dictionary: &mut Dictionary,
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
        dictionary.devices.insert(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(())
}
