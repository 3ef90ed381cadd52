//! A row on its way back into a reading.

use std::collections::BTreeMap;

use schemas::{
    event::{Coding, Device, DeviceId, Reading, SourceName},
    format::RawTopic,
    version::{Appended, SourceVersion, Version},
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    column::Cell,
    columns::{COLUMNS, SELECTED},
    instant,
    value::{Extra, Part, StoredCells},
};

/// A reading as it is stored, and what is known of its content.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredReading {
    /// The reading.
    pub reading: Reading,
    /// Its version.
    pub version: Version,
}

/// What the columns of a row have filled in so far.
pub(super) struct Draft {
    pub(super) reading: Reading,
    pub(super) first: First,
    pub(super) coding: i64,
    pub(super) device: Option<i64>,
    pub(super) gateway: Option<i64>,
    pub(super) cells: StoredCells,
    pub(super) components: Vec<Part<'static>>,
    pub(super) extra: Extra<'static>,
    pub(super) measured_text: Option<String>,
    pub(super) measured_until_text: Option<String>,
}

/// The first append of the content, where it is not the row's own.
#[derive(Default)]
pub(super) struct First {
    pub(super) at: Option<i64>,
    pub(super) topic: Option<RawTopic>,
    pub(super) topic_epoch: Option<i32>,
    pub(super) partition: Option<i32>,
    pub(super) offset: Option<i64>,
    pub(super) item: Option<i32>,
}

/// The error of a row that this project did not write.
pub(super) fn unknown_word() -> sqlx::Error {
    sqlx::Error::Decode("a row of readings has a value that no release writes".into())
}

/// The current readings with these ids, in the order of the ids.
///
/// # Errors
/// Postgres is away, or a row is not one that this project wrote.
pub async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<StoredReading>, sqlx::Error> {
    let statement = format!("SELECT {} FROM readings WHERE reading_id = ANY($1) ORDER BY reading_id", *SELECTED);
    let rows = sqlx::query(&statement).bind(ids).fetch_all(&mut *connection).await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut draft = Draft::blank()?;
        for (place, column) in COLUMNS.iter().enumerate() {
            (column.read)(&mut draft, Cell(row, place))?;
        }
        drafts.push(draft);
    }
    let codings = codings(connection, &drafts).await?;
    let devices = devices(connection, &drafts).await?;
    drafts.into_iter().map(|draft| draft.finish(&codings, &devices)).collect()
}

async fn codings(connection: &mut PgConnection, drafts: &[Draft]) -> Result<BTreeMap<i64, Coding>, sqlx::Error> {
    let numbers: Vec<i64> =
        drafts.iter().flat_map(|draft| draft.components.iter().map(|part| part.c).chain([draft.coding])).collect();
    let rows = sqlx::query!("SELECT coding_id, system, code, display FROM codings WHERE coding_id = ANY($1)", &numbers)
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

async fn devices(connection: &mut PgConnection, drafts: &[Draft]) -> Result<BTreeMap<i64, Device>, sqlx::Error> {
    let numbers: Vec<i64> = drafts.iter().flat_map(|draft| draft.device.into_iter().chain(draft.gateway)).collect();
    let rows = sqlx::query!(
        "SELECT description_id, device_key, device_id, manufacturer, model, serial FROM device_descriptions \
         WHERE description_id = ANY($1)",
        &numbers
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

impl Draft {
    /// Nothing filled in.
    fn blank() -> Result<Self, sqlx::Error> {
        let source = SourceName::parse("-").map_err(|_| unknown_word())?;
        Ok(Self {
            reading: Reading::blank(source),
            first: First::default(),
            coding: 0,
            device: None,
            gateway: None,
            cells: StoredCells::default(),
            components: Vec::new(),
            extra: Extra::default(),
            measured_text: None,
            measured_until_text: None,
        })
    }

    fn finish(
        self,
        codings: &BTreeMap<i64, Coding>,
        devices: &BTreeMap<i64, Device>,
    ) -> Result<StoredReading, sqlx::Error> {
        let Self { mut reading, first, mut extra, .. } = self;
        let coding = |number: i64| codings.get(&number).cloned().ok_or(sqlx::Error::RowNotFound);
        let device = |number: Option<i64>| {
            number.map(|number| devices.get(&number).cloned().ok_or(sqlx::Error::RowNotFound)).transpose()
        };
        let topic = reading.provenance.topic.ok_or_else(unknown_word)?;
        reading.provider = topic.provider().ok_or_else(unknown_word)?;
        reading.code = coding(self.coding)?;
        reading.device = device(self.device)?;
        reading.gateway = device(self.gateway)?;
        reading.value = self.cells.value(&mut extra)?;
        reading.source_codes = extra.source_codes();
        let components = self.components.into_iter().map(|part| {
            let code = coding(part.c)?;
            part.component(code)
        });
        reading.components = components.collect::<Result<_, _>>()?;
        reading.measured_text = instant::restored(&reading, reading.measured_from, self.measured_text);
        reading.measured_until_text = instant::restored(&reading, reading.measured_until, self.measured_until_text);
        let row = Version::of(&reading).row;
        let version = Version {
            source: SourceVersion { number: reading.source_version, updated_at: reading.source_updated_at },
            first: first.or(row),
            mapping_version: reading.provenance.mapping_version,
            row,
        };
        Ok(StoredReading { reading, version })
    }
}

impl First {
    fn or(self, row: Appended) -> Appended {
        Appended {
            at: self.at.unwrap_or(row.at),
            topic: self.topic.unwrap_or(row.topic),
            topic_epoch: self.topic_epoch.unwrap_or(row.topic_epoch),
            partition: self.partition.unwrap_or(row.partition),
            offset: self.offset.unwrap_or(row.offset),
            item: self.item.unwrap_or(row.item),
        }
    }
}
