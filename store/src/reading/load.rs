//! Reads readings from the database.

use std::collections::BTreeMap;

use schemas::{
    event::{Coding, Device, DeviceId, Reading},
    version::{Appended, MappedBy, SourceVersion, Version},
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    column::Cell,
    columns::{COLUMNS, SELECTED},
    draft::{Draft, First},
    instant,
    unreadable::unknown_word,
};

/// A stored reading with its version.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredReading {
    /// The reading.
    pub reading: Reading,
    /// Its version.
    pub version: Version,
}

/// Returns the current readings with these ids, ordered by id.
///
/// # Errors
/// Postgres is unavailable, or a row has a value that this project does not write.
pub async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<StoredReading>, sqlx::Error> {
    let statement = format!("SELECT {} FROM readings WHERE reading_id = ANY($1) ORDER BY reading_id", *SELECTED);
    let rows = sqlx::query(&statement).bind(ids).fetch_all(&mut *connection).await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut draft = Draft::blank()?;
        for (index, column) in COLUMNS.iter().enumerate() {
            (column.read)(&mut draft, Cell(row, index))?;
        }
        drafts.push(draft);
    }
    let codings = load_codings(connection, &drafts).await?;
    let devices = load_devices(connection, &drafts).await?;
    drafts.into_iter().map(|draft| finish(draft, &codings, &devices)).collect()
}

async fn load_codings(connection: &mut PgConnection, drafts: &[Draft]) -> Result<BTreeMap<i64, Coding>, sqlx::Error> {
    let ids: Vec<i64> = drafts
        .iter()
        .flat_map(|draft| draft.components.iter().map(|component| component.c).chain([draft.coding_id]))
        .collect();
    let rows = sqlx::query!("SELECT coding_id, system, code, display FROM codings WHERE coding_id = ANY($1)", &ids)
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let coding =
                Coding { system: row.system.into(), code: row.code.into(), display: row.display.map(Into::into) };
            (row.coding_id, coding)
        })
        .collect())
}

async fn load_devices(connection: &mut PgConnection, drafts: &[Draft]) -> Result<BTreeMap<i64, Device>, sqlx::Error> {
    let ids: Vec<i64> = drafts.iter().flat_map(|draft| draft.device_id.into_iter().chain(draft.gateway_id)).collect();
    let rows = sqlx::query!(
        "SELECT description_id, device_key, device_id, manufacturer, model, serial FROM device_descriptions \
         WHERE description_id = ANY($1)",
        &ids
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let device = Device {
                key: row.device_key,
                id: DeviceId::parse(&row.device_id).map_err(|_| unknown_word())?,
                manufacturer: row.manufacturer.map(Into::into),
                model: row.model.map(Into::into),
                serial: row.serial.map(Into::into),
            };
            Ok((row.description_id, device))
        })
        .collect()
}

/// Builds the reading from the columns of a row and the dictionary entries.
fn finish(
    draft: Draft,
    codings: &BTreeMap<i64, Coding>,
    devices: &BTreeMap<i64, Device>,
) -> Result<StoredReading, sqlx::Error> {
    let Draft { mut reading, first, mut extra, .. } = draft;
    let coding = |id: i64| codings.get(&id).cloned().ok_or(sqlx::Error::RowNotFound);
    let device = |id: Option<i64>| id.map(|id| devices.get(&id).cloned().ok_or(sqlx::Error::RowNotFound)).transpose();
    let topic = reading.provenance.topic.ok_or_else(unknown_word)?;
    reading.provider = topic.provider().ok_or_else(unknown_word)?;
    reading.code = coding(draft.coding_id)?;
    reading.device = device(draft.device_id)?;
    reading.gateway = device(draft.gateway_id)?;
    reading.value = draft.cells.value(&mut extra)?;
    reading.source_codes = extra.source_codes();
    let components = draft.components.into_iter().map(|stored| {
        let code = coding(stored.c)?;
        stored.component(code)
    });
    reading.components = components.collect::<Result<_, _>>()?;
    reading.measured_text = instant::restored(&reading, reading.measured_from, draft.measured_text);
    reading.measured_until_text = instant::restored(&reading, reading.measured_until, draft.measured_until_text);
    let row = Version::of(&reading).row;
    let version = Version {
        source: SourceVersion { number: reading.source_version, updated_at: reading.source_updated_at },
        first: first_append(&first, row),
        mapped_by: MappedBy::of(&reading),
        row,
        withdrawn: reading.withdrawn,
    };
    Ok(StoredReading { reading, version })
}

/// Returns the first append of the content, which is the append of the row when the row does not store another one.
fn first_append(first: &First, row: Appended) -> Appended {
    Appended {
        at: first.at.unwrap_or(row.at),
        topic: first.topic.unwrap_or(row.topic),
        topic_epoch: first.topic_epoch.unwrap_or(row.topic_epoch),
        partition: first.partition.unwrap_or(row.partition),
        offset: first.offset.unwrap_or(row.offset),
        item: first.item.unwrap_or(row.item),
    }
}
