//! What the database contains about a range of raw records.

use schemas::{format::RawTopic, receipt::RawPosition};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::topic_code;

/// A range of offsets of a partition of a raw topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRange {
    /// The raw topic.
    pub topic: RawTopic,
    /// The epoch of the raw topic.
    pub topic_epoch: u16,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub first: i64,
    /// The offset after the last one.
    pub end: i64,
}

impl RawRange {
    /// Returns the position of the record at an offset.
    #[must_use]
    pub fn position(&self, offset: i64) -> RawPosition {
        let Self { topic, topic_epoch, partition, .. } = *self;
        RawPosition { topic, topic_epoch: i32::from(topic_epoch), partition, offset }
    }
}

/// Consecutive items of a raw record that were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRefusal {
    /// The offset of the raw record.
    pub offset: i64,
    /// The first item; -1 for the whole payload.
    pub item: i32,
    /// The number of items.
    pub item_count: i32,
    /// The stage that refused them.
    pub stage: String,
    /// Why they were refused.
    pub reason: String,
}

/// An item of a raw record that delivered a reading: as the current row, as an earlier version, or as a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// The offset of the raw record.
    pub offset: i64,
    /// The item.
    pub item: i32,
    /// The reading.
    pub reading_id: Uuid,
}

/// A stored device command.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredCommand {
    /// The offset of the raw record.
    pub offset: i64,
    /// The device.
    pub device_key: Uuid,
    /// The command: `assign` or `unassign`.
    pub command: String,
    /// The provider of the device; `None` for an unassign.
    pub provider: Option<String>,
    /// The identifier of the device at its provider; `None` for an unassign.
    pub device_id: Option<String>,
    /// The kind of device.
    pub device_type: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The serial number.
    pub serial_number: Option<String>,
    /// The features, as compact JSON.
    pub features: Option<String>,
    /// The patient to whom the device is assigned; `None` for an unassign.
    pub patient_id: Option<String>,
    /// From when the command is in effect, microseconds since the epoch.
    pub effective_from: Option<i64>,
    /// The version of the mapping that made the command.
    pub mapping_version: i32,
}

/// An interval in which a patient holds a device, in microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The device.
    pub device_key: Uuid,
    /// The start.
    pub from: Option<i64>,
    /// The exclusive end.
    pub until: Option<i64>,
}

impl Holding {
    /// Returns whether the interval contains a time of measurement, in microseconds since the epoch.
    #[must_use]
    pub fn covers(&self, measured_from: Option<i64>) -> bool {
        measured_from
            .is_some_and(|at| self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until))
    }
}

/// Returns the end of the part of a range, from its first offset on, for which outcomes are stored. What is after it is still on its
/// way through the stages.
///
/// # Errors
/// Postgres is unavailable.
pub async fn stored_until(connection: &mut PgConnection, range: &RawRange) -> Result<i64, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT min(o.first_offset) AS first, \
             min(o.last_offset) FILTER (WHERE o.following IS NULL OR o.following > o.last_offset + 1) AS last \
         FROM (SELECT first_offset, last_offset, lead(first_offset) OVER (ORDER BY first_offset) AS following \
               FROM outcomes \
               WHERE topic = $1 AND topic_epoch = $2 AND raw_partition = $3 AND last_offset >= $4 AND first_offset < $5) o",
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_one(connection)
    .await?;
    Ok(match (row.first, row.last) {
        (Some(first), Some(last)) if first <= range.first => (last + 1).min(range.end),
        _ => range.first,
    })
}

/// Returns the items of a range that were refused, ordered by offset and item.
///
/// # Errors
/// Postgres is unavailable.
pub async fn refusals(connection: &mut PgConnection, range: &RawRange) -> Result<Vec<StoredRefusal>, sqlx::Error> {
    sqlx::query_as!(
        StoredRefusal,
        "SELECT raw_offset AS \"offset!\", item, item_count, stage, reason FROM dead_letters \
         WHERE raw_topic = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5 \
             AND state <> 'resolved' \
         ORDER BY raw_offset, item, stage",
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_all(connection)
    .await
}

/// Returns the items of a range that delivered readings, ordered by offset and item. Withdrawn deliveries are left out.
///
/// # Errors
/// Postgres is unavailable.
pub async fn deliveries(connection: &mut PgConnection, range: &RawRange) -> Result<Vec<Delivery>, sqlx::Error> {
    sqlx::query_as!(
        Delivery,
        "SELECT raw_offset AS \"offset!\", item AS \"item!\", reading_id AS \"reading_id!\" FROM readings \
         WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5 \
             AND withdrawn IS NOT TRUE \
         UNION \
         SELECT raw_offset, item, reading_id FROM reading_versions \
         WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5 \
             AND withdrawn IS NOT TRUE \
         UNION \
         SELECT raw_offset, item, reading_id FROM reading_duplicates \
         WHERE topic_code = $1 AND topic_epoch = $2 AND raw_partition = $3 AND raw_offset >= $4 AND raw_offset < $5 \
             AND withdrawn_mapping IS NULL \
         ORDER BY 1, 2, 3",
        topic_code(range.topic),
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_all(connection)
    .await
}

/// Returns the device commands of a range.
///
/// # Errors
/// Postgres is unavailable.
pub async fn commands(connection: &mut PgConnection, range: &RawRange) -> Result<Vec<StoredCommand>, sqlx::Error> {
    sqlx::query_as!(
        StoredCommand,
        "SELECT raw_offset AS \"offset\", device_key, command, provider::text, device_id, device_type, name, serial_number, \
             features, patient_id, (extract(epoch FROM effective_from) * 1000000)::bigint AS effective_from, mapping_version \
         FROM device_commands \
         WHERE topic_epoch = $1 AND raw_partition = $2 AND raw_offset >= $3 AND raw_offset < $4",
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_all(connection)
    .await
}

/// Returns the runs of device commands of a range that are not used for attribution, because their source sent too many: the first and
/// the last offset.
///
/// # Errors
/// Postgres is unavailable.
pub async fn excess_commands(connection: &mut PgConnection, range: &RawRange) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT first_offset, last_offset FROM excess_commands \
         WHERE topic_epoch = $1 AND raw_partition = $2 AND last_offset >= $3 AND first_offset < $4",
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.first_offset, row.last_offset)).collect())
}

/// Returns which of these documents are stored, by their SHA-256.
///
/// # Errors
/// Postgres is unavailable.
pub async fn stored_documents(connection: &mut PgConnection, hashes: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT sha256 FROM documents WHERE sha256 = ANY($1)", hashes).fetch_all(connection).await
}

/// Returns the intervals in which a patient holds devices.
///
/// # Errors
/// Postgres is unavailable.
pub async fn holdings_of(connection: &mut PgConnection, patient_id: &str) -> Result<Vec<Holding>, sqlx::Error> {
    sqlx::query_as!(
        Holding,
        "SELECT device_key, (extract(epoch FROM lower(during)) * 1000000)::bigint AS \"from\", \
             (extract(epoch FROM upper(during)) * 1000000)::bigint AS until \
         FROM device_assignments WHERE patient_id = $1",
        patient_id
    )
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Holding;

    #[test]
    fn an_interval_contains_its_start_and_not_its_end() {
        let covers = |from, until, at| Holding { device_key: Uuid::nil(), from, until }.covers(at);
        assert!(covers(Some(5), Some(7), Some(5)) && covers(Some(5), Some(7), Some(6)));
        assert!(!covers(Some(5), Some(7), Some(4)) && !covers(Some(5), Some(7), Some(7)));
        assert!(covers(None, Some(7), Some(i64::MIN)) && covers(Some(5), None, Some(i64::MAX)));
        assert!(!covers(None, None, None), "a reading without a time is attributed to nobody");
    }
}
