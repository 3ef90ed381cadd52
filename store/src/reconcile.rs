//! What the database contains about each raw record of a range, as counts that can be compared with its outcome; for
//! `device-manager reconcile` and for the continuous check beside the sinks.

use schemas::{format::RawTopic, receipt::RawPosition, version::MappedBy};
use sqlx::{
    FromRow, PgConnection, Postgres,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
};
use uuid::Uuid;

use crate::{replay::RawRange, topic_code};

/// Adjacent raw records with the same outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRun {
    /// The first offset. It may be before the range.
    pub first: i64,
    /// The last offset. It may be after the range.
    pub last: i64,
    /// The number of readings of each record.
    pub readings: i64,
    /// The number of device commands of each record.
    pub commands: i64,
    /// The number of refused items of each record.
    pub rejections: i64,
    /// What mapped the records.
    pub mapped_by: MappedBy,
}

/// What is stored of one raw record. Each item is counted once, in the first field that applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct StoredRecord {
    /// The offset of the record.
    pub offset: i64,
    /// The items from which the current row of a reading was made.
    pub current: i64,
    /// The items whose content another version superseded.
    pub superseded: i64,
    /// The items whose reading the row of another item represents.
    pub duplicates: i64,
    /// The items that a sink refused; of a device command, the command.
    pub refused_by_sink: i64,
    /// The items that the normalizer refused, and that no operator sent again.
    pub refused: i64,
    /// The items that the normalizer refused, and that an operator sent again: the newest outcome may count them as refused or not.
    pub redriven: i64,
    /// The number of device commands.
    pub commands: i64,
    /// By how many an item is stored more often than once: a second reading, or a row and a duplicate of one reading.
    pub excess: i64,
}

/// Where an item of a raw record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The row of a reading was made from it.
    Current,
    /// Another version superseded it.
    Superseded,
    /// The row of another item represents its reading.
    Duplicate,
    /// A sink refused it.
    RefusedBySink,
    /// The normalizer refused it.
    Refused,
    /// The normalizer refused it, and an operator sent it again.
    Redriven,
}

/// An item of a raw record in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredItem {
    /// The item; -1 for the whole payload.
    pub item: i32,
    /// The reading; `None` for a refusal.
    pub reading_id: Option<Uuid>,
    /// Where it is.
    pub place: Place,
    /// How often it is stored: twice if the reading has a row and a duplicate. 0 for a refusal and for a withdrawn delivery.
    pub times: i64,
}

/// Rows that name raw records outside of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// The table.
    pub stored_in: String,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// The number of rows.
    pub rows: i64,
}

/// The raw records of another topic epoch that have outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherEpoch {
    /// The topic epoch.
    pub topic_epoch: i32,
    /// The number of raw records.
    pub records: i64,
}

/// The entries of the items of a range, as `entries`: one for each item and reading, with the best place, whether it has a row, and
/// whether it is a duplicate. Parameters: topic code, epoch, partition, first offset, offset after the last one, topic.
///
/// A duplicate and a version count only if their reading is stored. A withdrawn delivery counts only if the outcome was made before
/// it was withdrawn. A dead letter of a sink without an item is about an outcome or a document, except on the topic of device commands.
const ENTRIES: &str = "WITH delivered AS (
    SELECT raw_offset, item, reading_id, 0 AS place, withdrawn IS TRUE AS withdrawn, mapping_version AS mapping,
           coalesce(catalogue_revision, 0) AS catalogue, coalesce(replay, 0) AS replay
    FROM readings
    WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5
    UNION ALL
    SELECT v.raw_offset, v.item, v.reading_id, 1, v.withdrawn IS TRUE, v.mapping_version, coalesce(v.catalogue_revision, 0),
           coalesce(v.replay, 0)
    FROM reading_versions v JOIN readings r USING (reading_id)
    WHERE v.topic_code = $1 AND v.topic_epoch = $2 AND v.raw_partition = $3 AND v.raw_offset >= $4 AND v.raw_offset < $5
    UNION ALL
    SELECT d.raw_offset, d.item, d.reading_id, 2, d.withdrawn_mapping IS NOT NULL, d.withdrawn_mapping, d.withdrawn_catalogue,
           d.withdrawn_replay
    FROM reading_duplicates d JOIN readings r USING (reading_id)
    WHERE d.topic_code = $1 AND d.topic_epoch = $2 AND d.raw_partition = $3 AND d.raw_offset >= $4 AND d.raw_offset < $5),
counting AS (
    SELECT raw_offset, item, reading_id, place, withdrawn FROM delivered d
    WHERE NOT withdrawn OR coalesce((mapping, catalogue, replay) > (
        SELECT o.mapping_version, o.catalogue_revision, o.replay FROM outcomes o
        WHERE o.topic = $6 AND o.topic_epoch = $2 AND o.raw_partition = $3 AND o.first_offset <= d.raw_offset
          AND o.last_offset >= d.raw_offset
        ORDER BY o.first_offset DESC LIMIT 1), true)
    UNION ALL
    SELECT raw_offset, generate_series(item, item + item_count - 1), NULL,
           CASE WHEN stage = 'sink' THEN 3 WHEN state = 'redriven' THEN 5 ELSE 4 END, false
    FROM dead_letters
    WHERE raw_topic = $6 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5
      AND state <> 'resolved' AND (item >= 0 OR stage <> 'sink' OR $6 = 'raw.devices')),
entries AS (
    SELECT raw_offset, item, reading_id, min(place) AS place, bool_or(place < 2 AND NOT withdrawn) AS is_row,
           bool_or(place = 2 AND NOT withdrawn) AS is_duplicate
    FROM counting GROUP BY raw_offset, item, reading_id)";

/// Returns the outcomes that cover records of a range, in the order of offsets.
///
/// # Errors
/// Postgres is unavailable.
pub async fn runs(connection: &mut PgConnection, range: &RawRange) -> Result<Vec<StoredRun>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT first_offset, last_offset, readings, commands, rejections, mapping_version, catalogue_revision, replay FROM outcomes \
         WHERE topic = $1 AND topic_epoch = $2 AND raw_partition = $3 AND first_offset < $5 \
             AND first_offset >= coalesce((SELECT max(first_offset) FROM outcomes WHERE topic = $1 AND topic_epoch = $2 \
                 AND raw_partition = $3 AND first_offset <= $4), 0) \
             AND last_offset >= $4 \
         ORDER BY first_offset",
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| StoredRun {
            first: row.first_offset,
            last: row.last_offset,
            readings: row.readings.into(),
            commands: row.commands.into(),
            rejections: row.rejections.into(),
            mapped_by: MappedBy { mapping: row.mapping_version, catalogue: row.catalogue_revision, replay: row.replay },
        })
        .collect())
}

/// Returns the raw records of a range of which something is stored, in the order of offsets.
///
/// # Errors
/// Postgres is unavailable.
pub async fn records(connection: &mut PgConnection, range: &RawRange) -> Result<Vec<StoredRecord>, sqlx::Error> {
    let query = format!(
        "{ENTRIES},
         items AS (
             SELECT raw_offset, min(place) AS place, greatest(sum(is_row::int + is_duplicate::int) - 1, 0) AS excess
             FROM entries GROUP BY raw_offset, item),
         commands AS (
             SELECT raw_offset, count(*) AS commands FROM (
                 SELECT raw_offset FROM device_commands
                 WHERE $1 = 2 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5
                 UNION ALL
                 SELECT generate_series(greatest(first_offset, $4), least(last_offset, $5 - 1)) FROM excess_commands
                 WHERE $1 = 2 AND topic_epoch = $2 AND raw_partition = $3 AND first_offset < $5 AND last_offset >= $4) all_commands
             GROUP BY raw_offset),
         counts AS (
             SELECT raw_offset, count(*) FILTER (WHERE place = 0) AS current, count(*) FILTER (WHERE place = 1) AS superseded,
                    count(*) FILTER (WHERE place = 2) AS duplicates, count(*) FILTER (WHERE place = 3) AS refused_by_sink,
                    count(*) FILTER (WHERE place = 4) AS refused, count(*) FILTER (WHERE place = 5) AS redriven,
                    sum(excess)::bigint AS excess
             FROM items GROUP BY raw_offset)
         SELECT raw_offset AS offset, coalesce(current, 0) AS current, coalesce(superseded, 0) AS superseded,
                coalesce(duplicates, 0) AS duplicates, coalesce(refused_by_sink, 0) AS refused_by_sink,
                coalesce(refused, 0) AS refused, coalesce(redriven, 0) AS redriven, coalesce(commands, 0) AS commands,
                coalesce(excess, 0) AS excess
         FROM counts FULL JOIN commands USING (raw_offset) ORDER BY raw_offset"
    );
    bound(&query, range).fetch_all(connection).await
}

/// A stored reading whose document is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithoutDocument {
    /// The offset of the raw record.
    pub offset: i64,
    /// The item of the raw record.
    pub item: i32,
    /// The reading.
    pub reading_id: Uuid,
}

/// Returns the readings and versions of a range that refer to a document that is not stored, in the order of items. A document that a sink
/// has refused has a dead letter instead.
///
/// # Errors
/// Postgres is unavailable.
pub async fn without_document(
    connection: &mut PgConnection,
    range: &RawRange,
) -> Result<Vec<WithoutDocument>, sqlx::Error> {
    sqlx::query_as!(
        WithoutDocument,
        "SELECT raw_offset AS \"offset!\", item AS \"item!\", reading_id AS \"reading_id!\" FROM ( \
             SELECT raw_offset, item, reading_id, extra FROM readings \
             WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5 \
             UNION ALL \
             SELECT raw_offset, item, reading_id, extra FROM reading_versions \
             WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5) stored \
         WHERE extra ? 'document' \
             AND NOT EXISTS (SELECT FROM documents WHERE sha256 = decode(extra #>> '{document,sha256}', 'hex')) \
             AND NOT EXISTS (SELECT FROM dead_letters WHERE raw_topic = $6 AND topic_epoch = $2 AND raw_partition = $3 \
                 AND dead_letters.raw_offset = stored.raw_offset AND stage = 'sink' AND origin_topic LIKE '%documents') \
         ORDER BY raw_offset, item",
        topic_code(range.topic),
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end,
        range.topic.as_str()
    )
    .fetch_all(connection)
    .await
}

/// Returns where each item of a raw record is stored, in the order of items.
///
/// # Errors
/// Postgres is unavailable.
pub async fn items(connection: &mut PgConnection, position: &RawPosition) -> Result<Vec<StoredItem>, sqlx::Error> {
    #[derive(FromRow)]
    struct Entry {
        item: i32,
        reading_id: Option<Uuid>,
        place: i32,
        times: i64,
    }
    let query = format!(
        "{ENTRIES}
         SELECT item, reading_id, place, (is_row::int + is_duplicate::int)::bigint AS times
         FROM entries ORDER BY item, place, reading_id"
    );
    let RawPosition { topic, topic_epoch, partition, offset } = *position;
    let range = RawRange {
        topic,
        topic_epoch: u16::try_from(topic_epoch).unwrap_or(u16::MAX),
        partition,
        first: offset,
        end: offset + 1,
    };
    let entries: Vec<Entry> = bound(&query, &range).fetch_all(connection).await?;
    let item = |entry: Entry| StoredItem {
        item: entry.item,
        reading_id: entry.reading_id,
        place: place(entry.place),
        times: entry.times,
    };
    Ok(entries.into_iter().map(item).collect())
}

const fn place(number: i32) -> Place {
    match number {
        0 => Place::Current,
        1 => Place::Superseded,
        2 => Place::Duplicate,
        3 => Place::RefusedBySink,
        5 => Place::Redriven,
        _ => Place::Refused,
    }
}

fn bound<'q, R: for<'r> FromRow<'r, PgRow>>(query: &'q str, range: &RawRange) -> QueryAs<'q, Postgres, R, PgArguments> {
    sqlx::query_as(query)
        .bind(topic_code(range.topic))
        .bind(i32::from(range.topic_epoch))
        .bind(range.partition)
        .bind(range.first)
        .bind(range.end)
        .bind(range.topic.as_str())
}

/// Returns the end of the newest outcome of a partition; 0 if it has none.
///
/// # Errors
/// Postgres is unavailable.
pub async fn newest_end(connection: &mut PgConnection, range: &RawRange) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT coalesce(max(last_offset) + 1, 0) AS \"end!\" FROM outcomes \
         WHERE topic = $1 AND topic_epoch = $2 AND raw_partition = $3",
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition
    )
    .fetch_one(connection)
    .await
}

/// Returns the rows whose raw records are at the end of a range or after it, in its partition. Outcomes count as their records.
///
/// # Errors
/// Postgres is unavailable.
pub async fn outside(connection: &mut PgConnection, range: &RawRange) -> Result<Vec<Outside>, sqlx::Error> {
    let found = sqlx::query_as!(
        Outside,
        "SELECT stored_in AS \"stored_in!\", $3::integer AS \"partition!\", min(first) AS \"first!\", max(last) AS \"last!\", \
             sum(rows)::bigint AS \"rows!\" \
         FROM ( \
             SELECT 'outcomes' AS stored_in, greatest(first_offset, $4::bigint) AS first, last_offset AS last, \
                 last_offset - greatest(first_offset, $4) + 1 AS rows \
             FROM outcomes WHERE topic = $5 AND topic_epoch = $2 AND raw_partition = $3 AND last_offset >= $4 \
             UNION ALL \
             SELECT 'readings', raw_offset, raw_offset, 1 FROM readings \
             WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 \
             UNION ALL \
             SELECT 'reading_versions', raw_offset, raw_offset, 1 FROM reading_versions \
             WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 \
             UNION ALL \
             SELECT 'reading_duplicates', raw_offset, raw_offset, 1 FROM reading_duplicates \
             WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 \
             UNION ALL \
             SELECT 'dead_letters', raw_offset, raw_offset, 1 FROM dead_letters \
             WHERE raw_topic = $5 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 \
             UNION ALL \
             SELECT 'device_commands', raw_offset, raw_offset, 1 FROM device_commands \
             WHERE $1 = 2 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 \
             UNION ALL \
             SELECT 'excess_commands', greatest(first_offset, $4), last_offset, last_offset - greatest(first_offset, $4) + 1 \
             FROM excess_commands \
             WHERE $1 = 2 AND topic_epoch = $2 AND raw_partition = $3 AND last_offset >= $4) outside \
         GROUP BY stored_in ORDER BY stored_in",
        topic_code(range.topic),
        i32::from(range.topic_epoch),
        range.partition,
        range.end,
        range.topic.as_str()
    );
    found.fetch_all(connection).await
}

/// Returns the partitions that outcomes and dead letters name, and that a topic does not have.
///
/// # Errors
/// Postgres is unavailable.
pub async fn other_partitions(
    connection: &mut PgConnection,
    (topic, topic_epoch): (RawTopic, u16),
    partitions: i32,
) -> Result<Vec<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT raw_partition AS \"partition!\" FROM outcomes WHERE topic = $1 AND topic_epoch = $2 AND raw_partition >= $3 \
         UNION SELECT raw_partition FROM dead_letters WHERE raw_topic = $1 AND topic_epoch = $2 AND raw_partition >= $3 ORDER BY 1",
        topic.as_str(),
        i32::from(topic_epoch),
        partitions
    )
    .fetch_all(connection)
    .await
}

/// Returns the raw records of the other epochs of a topic that have outcomes, in the order of epochs.
///
/// # Errors
/// Postgres is unavailable.
pub async fn other_epochs(
    connection: &mut PgConnection,
    (topic, topic_epoch): (RawTopic, u16),
) -> Result<Vec<OtherEpoch>, sqlx::Error> {
    sqlx::query_as!(
        OtherEpoch,
        "SELECT topic_epoch, sum(last_offset - first_offset + 1)::bigint AS \"records!\" FROM outcomes \
         WHERE topic = $1 AND topic_epoch <> $2 GROUP BY topic_epoch ORDER BY topic_epoch",
        topic.as_str(),
        i32::from(topic_epoch)
    )
    .fetch_all(connection)
    .await
}

/// Locks the position of the continuous check in a partition until the end of the transaction, and returns it. It begins at the end of
/// a range. `None` if another process has locked it.
///
/// # Errors
/// Postgres is unavailable.
pub async fn lock_accounted(connection: &mut PgConnection, range: &RawRange) -> Result<Option<i64>, sqlx::Error> {
    let (topic, epoch) = (range.topic.as_str(), i32::from(range.topic_epoch));
    sqlx::query!(
        "INSERT INTO accounted (topic, topic_epoch, raw_partition, next_offset) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        topic,
        epoch,
        range.partition,
        range.end
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        "SELECT next_offset FROM accounted WHERE topic = $1 AND topic_epoch = $2 AND raw_partition = $3 FOR UPDATE SKIP LOCKED",
        topic,
        epoch,
        range.partition
    )
    .fetch_optional(connection)
    .await
}

/// Moves the position of the continuous check in a partition to the end of a range.
///
/// # Errors
/// Postgres is unavailable.
pub async fn set_accounted(connection: &mut PgConnection, range: &RawRange) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE accounted SET next_offset = $4 WHERE topic = $1 AND topic_epoch = $2 AND raw_partition = $3",
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        range.end
    )
    .execute(connection)
    .await?;
    Ok(())
}
