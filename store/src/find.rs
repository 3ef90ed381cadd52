//! What the database contains about the payloads of a patient or of a device; for `device-manager find`.
//!
//! Rows of readings are found by the indexes on device and subject. Other deliveries (of duplicates, of earlier versions, of readings
//! with a subject or a claim) are found by the position of their raw records, so that the cost depends on the time span. Earlier versions
//! have no such index: there are few of them, and the table is read completely.

use std::collections::BTreeMap;

use schemas::receipt::RawPosition;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{replay::RawRange, topic_code, topic_of};

/// Whose payloads are looked for, and when Kafka received them.
#[derive(Debug, Clone)]
pub struct Sought {
    /// The patient, if payloads of a patient are looked for.
    pub patient: Option<String>,
    /// The devices.
    pub devices: Vec<Uuid>,
    /// The start of the time span.
    pub since: OffsetDateTime,
    /// The exclusive end of the time span.
    pub until: OffsetDateTime,
}

/// An interval in which a patient holds a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// The device.
    pub device_key: Uuid,
    /// The patient.
    pub patient_id: String,
    /// The start.
    pub from: Option<OffsetDateTime>,
    /// The exclusive end.
    pub until: Option<OffsetDateTime>,
    /// When later commands replaced the interval; `None` if it is valid.
    pub replaced_at: Option<OffsetDateTime>,
}

/// An item of a payload that delivered a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The raw record.
    pub raw: RawPosition,
    /// The item.
    pub item: i32,
    /// The reading.
    pub reading_id: Uuid,
    /// `current`, `superseded`, `duplicate` or `withdrawn`.
    pub state: String,
    /// When Kafka received the payload; of a duplicate, which has no row of its own, `None`.
    pub received_at: Option<OffsetDateTime>,
    /// The format of the payload; `None` for a duplicate.
    pub format: Option<String>,
    /// The source of the payload; `None` for a duplicate.
    pub source: Option<String>,
}

/// What a reading is, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributed {
    /// The patient.
    pub patient_id: Option<String>,
    /// How the patient is known, or why none is known.
    pub attribution: String,
    /// Whether the payload names another patient.
    pub claim_conflict: bool,
    /// The code; of a panel, that of its first part.
    pub code: Option<String>,
    /// The display text of the code.
    pub display: Option<String>,
    /// The state of the observation.
    pub status: String,
}

/// A device command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCommand {
    /// The raw record.
    pub raw: RawPosition,
    /// The device.
    pub device_key: Uuid,
    /// `assign` or `unassign`.
    pub command: String,
    /// What became of it.
    pub verdict: Option<String>,
    /// When Kafka received it.
    pub received_at: OffsetDateTime,
    /// The source that sent it.
    pub source: String,
}

/// Returns the devices that were ever assigned to a patient, also by a command that has no effect, or whose readings name the patient as
/// subject within the time span.
///
/// # Errors
/// Postgres is unavailable.
pub async fn devices_of(
    connection: &mut PgConnection,
    patient: &str,
    since: OffsetDateTime,
) -> Result<Vec<Uuid>, sqlx::Error> {
    let keys = sqlx::query_scalar!(
        "SELECT device_key AS \"device_key!\" FROM device_assignments WHERE patient_id = $1 \
         UNION SELECT device_key FROM assignment_history WHERE patient_id = $1 \
         UNION SELECT device_key FROM device_commands WHERE patient_id = $1 \
         UNION SELECT d.device_key FROM readings r JOIN device_descriptions d USING (description_id) \
             WHERE r.subject = $1 AND r.received_at >= $2",
        patient,
        since
    )
    .fetch_all(connection)
    .await?;
    Ok(keys)
}

/// Returns the ids that sources give these devices.
///
/// # Errors
/// Postgres is unavailable.
pub async fn device_ids(
    connection: &mut PgConnection,
    devices: &[Uuid],
) -> Result<BTreeMap<Uuid, String>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT device_key AS \"device_key!\", min(device_id) AS \"device_id!\" FROM ( \
             SELECT device_key, device_id FROM devices WHERE device_key = ANY($1) AND device_id IS NOT NULL \
             UNION ALL SELECT device_key, device_id FROM device_descriptions WHERE device_key = ANY($1)) known \
         GROUP BY 1",
        devices
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.device_key, row.device_id)).collect())
}

/// Returns the intervals of these devices, ordered by device and start.
///
/// # Errors
/// Postgres is unavailable.
pub async fn intervals_of(connection: &mut PgConnection, devices: &[Uuid]) -> Result<Vec<Interval>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT device_key AS \"device_key!\", patient_id AS \"patient_id!\", lower(during) AS \"from\", upper(during) AS until, \
             replaced_at \
         FROM (SELECT device_key, patient_id, during, NULL::timestamptz AS replaced_at FROM device_assignments \
               WHERE device_key = ANY($1) \
               UNION ALL SELECT device_key, patient_id, during, replaced_at FROM assignment_history WHERE device_key = ANY($1)) i \
         ORDER BY device_key, lower(during) NULLS FIRST, replaced_at",
        devices
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Interval {
            device_key: row.device_key,
            patient_id: row.patient_id,
            from: row.from,
            until: row.until,
            replaced_at: row.replaced_at,
        })
        .collect())
}

/// Returns the items that delivered readings of a device, of a patient as subject, or with the patient as claim. `window` are the raw
/// records that Kafka received in the time span.
///
/// # Errors
/// Postgres is unavailable.
pub async fn deliveries(
    connection: &mut PgConnection,
    sought: &Sought,
    window: &[RawRange],
) -> Result<Vec<Delivery>, sqlx::Error> {
    let rows = sqlx::query!(
        "WITH w AS ( \
             SELECT * FROM unnest($5::smallint[], $6::integer[], $7::integer[], $8::bigint[], $9::bigint[]) \
                 w(code, epoch, partition, first, behind)), \
         of_devices AS ( \
             SELECT description_id FROM device_descriptions WHERE device_key = ANY($2)), \
         found AS ( \
             SELECT r.topic_code, r.topic_epoch, r.raw_partition, r.raw_offset, r.item, r.reading_id, \
                 CASE WHEN r.withdrawn THEN 'withdrawn' ELSE 'current' END AS state, r.received_at, r.format, r.source \
             FROM readings r WHERE r.subject = $1 AND r.received_at >= $3 AND r.received_at < $4 \
             UNION ALL \
             SELECT r.topic_code, r.topic_epoch, r.raw_partition, r.raw_offset, r.item, r.reading_id, \
                 CASE WHEN r.withdrawn THEN 'withdrawn' ELSE 'current' END, r.received_at, r.format, r.source \
             FROM of_devices JOIN readings r USING (description_id) \
             WHERE r.subject IS NULL AND r.received_at >= $3 AND r.received_at < $4 \
             UNION ALL \
             SELECT r.topic_code, r.topic_epoch, r.raw_partition, r.raw_offset, r.item, r.reading_id, \
                 CASE WHEN r.withdrawn THEN 'withdrawn' ELSE 'current' END, r.received_at, r.format, r.source \
             FROM w JOIN readings r ON r.raw_offset >= w.first AND r.raw_offset < w.behind AND r.raw_partition = w.partition \
                 AND r.topic_epoch = w.epoch AND r.topic_code = w.code \
             WHERE r.subject IS DISTINCT FROM $1 AND NOT (r.subject IS NULL AND coalesce(r.description_id IN (TABLE of_devices), false)) \
                 AND (r.description_id IN (TABLE of_devices) \
                      OR r.patient_claim = $1 \
                      OR regexp_replace(r.patient_claim, '^([^#]*/)?Patient/([^#]*)(#.*)?$', '\\2') = $1) \
             UNION ALL \
             SELECT d.topic_code, d.topic_epoch, d.raw_partition, d.raw_offset, d.item, d.reading_id, \
                 CASE WHEN d.withdrawn_mapping IS NULL THEN 'duplicate' ELSE 'withdrawn' END, NULL, NULL, NULL \
             FROM w JOIN reading_duplicates d ON d.raw_offset >= w.first AND d.raw_offset < w.behind AND d.raw_partition = w.partition \
                 AND d.topic_epoch = w.epoch AND d.topic_code = w.code \
             JOIN readings r USING (reading_id) \
             WHERE (r.subject = $1 OR r.description_id IN (TABLE of_devices) OR r.patient_claim = $1 \
                    OR regexp_replace(r.patient_claim, '^([^#]*/)?Patient/([^#]*)(#.*)?$', '\\2') = $1) \
                 AND NOT (r.withdrawn IS TRUE AND (r.topic_code, r.topic_epoch, r.raw_partition, r.raw_offset, r.item) \
                     = (d.topic_code, d.topic_epoch, d.raw_partition, d.raw_offset, d.item)) \
             UNION ALL \
             SELECT v.topic_code, v.topic_epoch, v.raw_partition, v.raw_offset, v.item, v.reading_id, 'superseded', v.received_at, v.format, \
                 v.source \
             FROM w JOIN reading_versions v ON v.raw_offset >= w.first AND v.raw_offset < w.behind AND v.raw_partition = w.partition \
                 AND v.topic_epoch = w.epoch AND v.topic_code = w.code \
             WHERE (v.subject = $1 OR v.description_id IN (TABLE of_devices) OR v.patient_claim = $1 \
                    OR regexp_replace(v.patient_claim, '^([^#]*/)?Patient/([^#]*)(#.*)?$', '\\2') = $1) \
                 AND v.withdrawn IS NOT TRUE) \
         SELECT topic_code AS \"topic_code!\", topic_epoch AS \"topic_epoch!\", raw_partition AS \"raw_partition!\", \
             raw_offset AS \"raw_offset!\", item AS \"item!\", reading_id AS \"reading_id!\", state AS \"state!\", received_at, \
             format::text AS format, source \
         FROM found ORDER BY topic_code, topic_epoch, raw_partition, raw_offset, item",
        sought.patient,
        &sought.devices,
        sought.since,
        sought.until,
        &window.iter().map(|range| topic_code(range.topic)).collect::<Vec<_>>(),
        &window.iter().map(|range| i32::from(range.topic_epoch)).collect::<Vec<_>>(),
        &window.iter().map(|range| range.partition).collect::<Vec<_>>(),
        &window.iter().map(|range| range.first).collect::<Vec<_>>(),
        &window.iter().map(|range| range.end).collect::<Vec<_>>()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let raw = RawPosition {
                topic: topic_of(row.topic_code)?,
                topic_epoch: row.topic_epoch,
                partition: row.raw_partition,
                offset: row.raw_offset,
            };
            Ok(Delivery {
                raw,
                item: row.item,
                reading_id: row.reading_id,
                state: row.state,
                received_at: row.received_at,
                format: row.format,
                source: row.source,
            })
        })
        .collect()
}

/// Returns what these readings are, and whose.
///
/// # Errors
/// Postgres is unavailable.
pub async fn attributed(
    connection: &mut PgConnection,
    reading_ids: &[Uuid],
) -> Result<BTreeMap<Uuid, Attributed>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (reading_id) reading_id AS \"reading_id!\", patient_id, attribution AS \"attribution!\", \
             claim_conflict AS \"claim_conflict!\", code, display, status AS \"status!\" \
         FROM all_readings WHERE reading_id = ANY($1) ORDER BY reading_id, component",
        reading_ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let attributed = Attributed {
                patient_id: row.patient_id,
                attribution: row.attribution,
                claim_conflict: row.claim_conflict,
                code: row.code,
                display: row.display,
                status: row.status,
            };
            (row.reading_id, attributed)
        })
        .collect())
}

/// Returns the device commands about these devices, and those that name the patient, in the order in which Kafka received them.
///
/// # Errors
/// Postgres is unavailable.
pub async fn commands(connection: &mut PgConnection, sought: &Sought) -> Result<Vec<FoundCommand>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT topic_epoch, raw_partition, raw_offset, device_key, command, verdict, received_at, source FROM device_commands \
         WHERE (device_key = ANY($1) OR patient_id = $2) AND received_at >= $3 AND received_at < $4 \
         ORDER BY received_at, topic_epoch, raw_partition, raw_offset",
        &sought.devices,
        sought.patient,
        sought.since,
        sought.until
    )
    .fetch_all(connection)
    .await?;
    let topic = schemas::format::RawTopic::Devices;
    Ok(rows
        .into_iter()
        .map(|row| FoundCommand {
            raw: RawPosition {
                topic,
                topic_epoch: row.topic_epoch,
                partition: row.raw_partition,
                offset: row.raw_offset,
            },
            device_key: row.device_key,
            command: row.command,
            verdict: row.verdict,
            received_at: row.received_at,
            source: row.source,
        })
        .collect())
}

/// Returns when the newest measurement of a device that no subject sent was made, and when it was received.
///
/// # Errors
/// Postgres is unavailable.
pub async fn newest_of(
    connection: &mut PgConnection,
    device: Uuid,
) -> Result<Option<(OffsetDateTime, OffsetDateTime)>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT n.measured_from AS \"measured_from!\", n.received_at FROM device_descriptions d \
         CROSS JOIN LATERAL ( \
             SELECT r.measured_from, r.received_at FROM readings r \
             WHERE r.description_id = d.description_id AND r.subject IS NULL AND r.measured_from IS NOT NULL \
             ORDER BY r.measured_from DESC LIMIT 1) n \
         WHERE d.device_key = $1 ORDER BY n.measured_from DESC LIMIT 1",
        device
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.measured_from, row.received_at)))
}

/// Returns the offset after the newest record of a partition that has an outcome; `None` if none has one.
///
/// # Errors
/// Postgres is unavailable.
pub async fn ended_until(connection: &mut PgConnection, range: &RawRange) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT last_offset + 1 AS \"until!\" FROM outcomes WHERE topic = $1 AND topic_epoch = $2 AND raw_partition = $3 \
         ORDER BY first_offset DESC LIMIT 1",
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition
    )
    .fetch_optional(connection)
    .await
}
