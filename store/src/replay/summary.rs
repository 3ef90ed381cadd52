//! What a replay found to be different, as counts.

use std::collections::BTreeMap;

use schemas::receipt::RawPosition;
use sqlx::PgConnection;

use super::ChangeKind;

/// Differences of the same kind, code and device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeGroup {
    /// How they differ.
    pub kind: ChangeKind,
    /// The system of the code.
    pub code_system: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// The display text of the code.
    pub display: Option<String>,
    /// The device's identifier at its provider.
    pub device_id: Option<String>,
    /// The number of readings or commands.
    pub count: i64,
    /// The number of them in which each field differs.
    pub fields: BTreeMap<String, i64>,
    /// The first of them.
    pub first: (RawPosition, i32),
}

/// Returns the number of readings, devices or records that differ in each way; of an aborted replay, those that it had published.
///
/// # Errors
/// Postgres is unavailable.
pub async fn count_by_kind(
    connection: &mut PgConnection,
    replay_id: i32,
) -> Result<BTreeMap<ChangeKind, i64>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT kind, CASE WHEN kind IN ('command', 'record') THEN count(*) ELSE count(DISTINCT subject_id) END AS \"count!\" \
         FROM replay_changes c WHERE replay_id = $1 \
           AND (NOT EXISTS (SELECT FROM replays WHERE replay_id = $1 AND state = 'aborted') \
               OR EXISTS (SELECT FROM replay_ranges a WHERE a.replay_id = $1 AND a.pass = 'apply' AND a.topic = c.topic \
                          AND a.topic_epoch = c.topic_epoch AND a.raw_partition = c.raw_partition AND c.raw_offset < a.next_offset)) \
         GROUP BY kind",
        replay_id
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((ChangeKind::from_word(&row.kind)?, row.count))).collect()
}

/// Returns the differences of readings and commands by kind, code and device; of an aborted replay, those that it had published.
/// Deliveries that moved to another record are left out.
///
/// # Errors
/// Postgres is unavailable.
pub async fn groups(connection: &mut PgConnection, replay_id: i32) -> Result<Vec<ChangeGroup>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT kind, code_system, code, max(display) AS display, device_id, count(DISTINCT subject_id) AS \"count!\", \
             (array_agg(topic || ':' || topic_epoch || ':' || raw_partition || ':' || raw_offset \
                 ORDER BY topic, topic_epoch, raw_partition, raw_offset, item))[1] AS \"raw!\", \
             (array_agg(item ORDER BY topic, topic_epoch, raw_partition, raw_offset, item))[1] AS \"item!\" \
         FROM replay_changes c WHERE replay_id = $1 AND kind IN ('added', 'changed', 'withdrawn', 'command') \
           AND (NOT EXISTS (SELECT FROM replays WHERE replay_id = $1 AND state = 'aborted') \
               OR EXISTS (SELECT FROM replay_ranges a WHERE a.replay_id = $1 AND a.pass = 'apply' AND a.topic = c.topic \
                          AND a.topic_epoch = c.topic_epoch AND a.raw_partition = c.raw_partition AND c.raw_offset < a.next_offset)) \
         GROUP BY kind, code_system, code, device_id ORDER BY kind, code_system, code, device_id",
        replay_id
    )
    .fetch_all(&mut *connection)
    .await?;
    let fields = sqlx::query!(
        "SELECT kind, code_system, code, device_id, field AS \"field!\", count(DISTINCT subject_id) AS \"count!\" \
         FROM replay_changes c, unnest(fields) field WHERE replay_id = $1 AND kind IN ('changed', 'command') \
           AND (NOT EXISTS (SELECT FROM replays WHERE replay_id = $1 AND state = 'aborted') \
               OR EXISTS (SELECT FROM replay_ranges a WHERE a.replay_id = $1 AND a.pass = 'apply' AND a.topic = c.topic \
                          AND a.topic_epoch = c.topic_epoch AND a.raw_partition = c.raw_partition AND c.raw_offset < a.next_offset)) \
         GROUP BY kind, code_system, code, device_id, field",
        replay_id
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let same = fields.iter().filter(|field| {
                (&field.kind, &field.code_system, &field.code, &field.device_id)
                    == (&row.kind, &row.code_system, &row.code, &row.device_id)
            });
            let counted = same.map(|field| (field.field.clone(), field.count)).collect();
            let raw = row.raw.parse().map_err(|_| sqlx::Error::Decode("a raw position cannot be read".into()))?;
            Ok(ChangeGroup {
                kind: ChangeKind::from_word(&row.kind)?,
                code_system: row.code_system,
                code: row.code,
                display: row.display,
                device_id: row.device_id,
                count: row.count,
                fields: counted,
                first: (raw, row.item),
            })
        })
        .collect()
}
