//! What payloads held that the mapping does not know; for `device-manager drift`.

use schemas::receipt::{Position, ReceiptKey};
use sqlx::{PgConnection, Row as _};

use crate::topic_of;

/// Shapes beyond this many are not kept: what senders make up must not fill the database.
pub const SHAPES_MAX: i64 = 10_000;

/// A shape, and the raw records that had it.
#[derive(Clone, serde::Serialize)]
pub struct Drift {
    /// The shape's short name.
    pub fingerprint: String,
    /// Who sent it.
    pub provider: String,
    /// In which format.
    pub format: String,
    /// Whether a field, a metric, a unit or a code is unknown.
    pub kind: String,
    /// Names and types.
    pub shape: String,
    /// How many raw records had it.
    pub count: i64,
    /// When the first was received, RFC 3339.
    pub first_seen: String,
    /// When the last was received.
    pub last_seen: String,
    /// The first one's receipt.
    pub receipt: String,
}

/// All shapes, the most frequent first. The key signs the receipts.
///
/// # Errors
/// Postgres is away.
pub async fn list(connection: &mut PgConnection, key: &ReceiptKey) -> Result<Vec<Drift>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT fingerprint, provider::text, format::text, kind, shape, count, \
             to_char(first_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
             to_char(last_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
             topic_code, topic_epoch, raw_partition, raw_offset \
         FROM drift ORDER BY count DESC, provider, format, kind, shape",
    )
    .fetch_all(connection)
    .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let position = Position {
            topic: topic_of(row.try_get(8)?)?,
            topic_epoch: u16::try_from(row.try_get::<i32, _>(9)?).unwrap_or_default(),
            partition: row.try_get(10)?,
            offset: row.try_get(11)?,
            item: 0,
        };
        all.push(Drift {
            fingerprint: row.try_get(0)?,
            provider: row.try_get(1)?,
            format: row.try_get(2)?,
            kind: row.try_get(3)?,
            shape: row.try_get(4)?,
            count: row.try_get(5)?,
            first_seen: row.try_get(6)?,
            last_seen: row.try_get(7)?,
            receipt: key.issue(&position),
        });
    }
    Ok(all)
}
