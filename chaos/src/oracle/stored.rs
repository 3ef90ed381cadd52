//! What is stored in Postgres.

use std::collections::BTreeMap;

use schemas::{format::RawTopic, receipt::RawPosition};
use sqlx::{FromRow, PgConnection, PgPool};
use store::{
    reading::{StoredReading, load},
    topic_of,
};
use uuid::Uuid;

use super::expected::{Counts, Item, Letter};

/// How many readings are loaded at once.
const LOADED: usize = 2_000;

/// A row of a reading: of the current content, or of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoredRow {
    pub(crate) reading_id: Uuid,
    pub(crate) content: Uuid,
    pub(crate) at: Item,
}

/// A range of offsets with the same outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredRun {
    pub(crate) first: RawPosition,
    pub(crate) last_offset: i64,
    pub(crate) counts: Counts,
}

/// An interval in which a patient holds a device, in microseconds.
pub(crate) type Holding = (Uuid, String, Option<i64>, Option<i64>);

/// What is stored.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) readings: Vec<StoredRow>,
    pub(crate) versions: Vec<StoredRow>,
    /// The reading of each duplicate, and the item.
    pub(crate) duplicates: Vec<(Uuid, Item)>,
    pub(crate) letters: Vec<Letter>,
    /// Dead letters that name no raw record.
    pub(crate) letters_without_record: u64,
    pub(crate) outcomes: Vec<StoredRun>,
    /// The verdict on each command.
    pub(crate) commands: BTreeMap<RawPosition, Option<String>>,
    pub(crate) holdings: Vec<Holding>,
    /// The SHA-256 of each document, and whether its content has it.
    pub(crate) documents: Vec<(Vec<u8>, bool)>,
    /// The current readings.
    pub(crate) values: BTreeMap<Uuid, StoredReading>,
}

#[derive(FromRow)]
struct RowOfItem {
    reading_id: Uuid,
    content: Uuid,
    topic_code: i16,
    topic_epoch: i32,
    raw_partition: i32,
    raw_offset: i64,
    item: i32,
}

impl RowOfItem {
    fn at(&self) -> Result<Item, sqlx::Error> {
        let Self { topic_epoch, raw_partition: partition, raw_offset: offset, item, .. } = *self;
        Ok(Item { raw: RawPosition { topic: topic_of(self.topic_code)?, topic_epoch, partition, offset }, item })
    }
}

#[derive(FromRow)]
struct RowOfLetter {
    raw_topic: Option<String>,
    topic_epoch: i32,
    raw_partition: Option<i32>,
    raw_offset: Option<i64>,
    item: i32,
    item_count: i32,
    stage: String,
    reason: String,
}

#[derive(FromRow)]
struct RowOfRun {
    topic: String,
    topic_epoch: i32,
    raw_partition: i32,
    first_offset: i64,
    last_offset: i64,
    items: i32,
    readings: i32,
    commands: i32,
    rejections: i32,
}

impl Stored {
    /// Reads everything, as of one moment.
    pub(crate) async fn load(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let mut transaction = pool.begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *transaction).await?;
        let connection = &mut *transaction;
        let mut stored = Self {
            readings: rows(connection, "SELECT reading_id, content, topic_code, topic_epoch, raw_partition, raw_offset, item FROM readings").await?,
            versions: rows(connection, "SELECT reading_id, content, topic_code, topic_epoch, raw_partition, raw_offset, item FROM reading_versions").await?,
            duplicates: rows(
                connection,
                "SELECT reading_id, reading_id AS content, topic_code, topic_epoch, raw_partition, raw_offset, item \
                 FROM reading_duplicates",
            )
            .await?
            .into_iter()
            .map(|row| (row.reading_id, row.at))
            .collect(),
            outcomes: outcomes(connection).await?,
            holdings: sqlx::query_as(
                "SELECT device_key, patient_id, (extract(epoch FROM lower(during)) * 1000000)::bigint, \
                     (extract(epoch FROM upper(during)) * 1000000)::bigint FROM device_assignments",
            )
            .fetch_all(&mut *connection)
            .await?,
            documents: sqlx::query_as("SELECT sha256, sha256 = sha256(content) FROM documents")
                .fetch_all(&mut *connection)
                .await?,
            ..Self::default()
        };
        stored.load_letters(connection).await?;
        stored.load_commands(connection).await?;
        stored.load_values(connection).await?;
        transaction.rollback().await?;
        Ok(stored)
    }

    async fn load_letters(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let rows: Vec<RowOfLetter> = sqlx::query_as(
            "SELECT raw_topic, topic_epoch, raw_partition, raw_offset, item, item_count, stage, reason FROM dead_letters",
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            let topic = row.raw_topic.as_deref().and_then(RawTopic::from_word);
            let (Some(topic), Some(partition), Some(offset)) = (topic, row.raw_partition, row.raw_offset) else {
                self.letters_without_record += 1;
                continue;
            };
            let raw = RawPosition { topic, topic_epoch: row.topic_epoch, partition, offset };
            self.letters.extend((row.item..row.item.saturating_add(row.item_count)).map(|item| Letter {
                at: Item { raw, item },
                stage: row.stage.clone(),
                reason: row.reason.clone(),
            }));
        }
        Ok(())
    }

    async fn load_commands(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let rows: Vec<(i32, i32, i64, Option<String>)> =
            sqlx::query_as("SELECT topic_epoch, raw_partition, raw_offset, verdict FROM device_commands")
                .fetch_all(connection)
                .await?;
        self.commands = rows
            .into_iter()
            .map(|(topic_epoch, partition, offset, verdict)| {
                (RawPosition { topic: RawTopic::Devices, topic_epoch, partition, offset }, verdict)
            })
            .collect();
        Ok(())
    }

    async fn load_values(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let ids: Vec<Uuid> = self.readings.iter().map(|row| row.reading_id).collect();
        for ids in ids.chunks(LOADED) {
            let loaded = load(&mut *connection, ids).await?;
            self.values.extend(loaded.into_iter().map(|stored| (stored.reading.reading_id, stored)));
        }
        Ok(())
    }
}

async fn rows(connection: &mut PgConnection, statement: &str) -> Result<Vec<StoredRow>, sqlx::Error> {
    let rows: Vec<RowOfItem> = sqlx::query_as(statement).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(StoredRow { reading_id: row.reading_id, content: row.content, at: row.at()? })).collect()
}

async fn outcomes(connection: &mut PgConnection) -> Result<Vec<StoredRun>, sqlx::Error> {
    let rows: Vec<RowOfRun> = sqlx::query_as(
        "SELECT topic, topic_epoch, raw_partition, first_offset, last_offset, items, readings, commands, rejections \
         FROM outcomes",
    )
    .fetch_all(connection)
    .await?;
    let unknown = |topic: &str| sqlx::Error::Decode(format!("there is no raw topic {topic}").into());
    rows.into_iter()
        .map(|row| {
            let topic = RawTopic::from_word(&row.topic).ok_or_else(|| unknown(&row.topic))?;
            let (topic_epoch, partition) = (row.topic_epoch, row.raw_partition);
            Ok(StoredRun {
                first: RawPosition { topic, topic_epoch, partition, offset: row.first_offset },
                last_offset: row.last_offset,
                counts: Counts {
                    items: row.items,
                    readings: row.readings,
                    commands: row.commands,
                    rejections: row.rejections,
                },
            })
        })
        .collect()
}
