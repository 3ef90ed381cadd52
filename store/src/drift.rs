//! What payloads contained that the mapping does not know; for `device-manager drift`.

use schemas::receipt::{ItemPosition, ReceiptKey};
use sqlx::PgConnection;

use crate::topic_of;

/// The largest number of shapes that are stored, so that names invented by senders cannot fill the database.
pub const SHAPES_MAX: i64 = 10_000;

/// A shape, and the raw records that contained it.
#[derive(Clone, serde::Serialize)]
pub struct Drift {
    /// The short name of the shape.
    pub fingerprint: String,
    /// The provider that sent the payloads.
    pub provider: String,
    /// The format of the payloads.
    pub format: String,
    /// Whether a field, a metric, a unit or a code is unknown.
    pub kind: String,
    /// Names and types.
    pub shape: String,
    /// The number of raw records with the shape.
    pub count: i64,
    /// When the first of these raw records was received, as RFC 3339.
    pub first_seen: String,
    /// When the last of them was received, as RFC 3339.
    pub last_seen: String,
    /// The receipt of the first of them.
    pub receipt: String,
}

/// Returns all shapes, the most frequent first. `key` signs the receipts.
///
/// # Errors
/// Postgres is unavailable.
pub async fn list(connection: &mut PgConnection, key: &ReceiptKey) -> Result<Vec<Drift>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT fingerprint, provider::text AS \"provider!\", format::text AS \"format!\", kind, shape, count, \
             to_char(first_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS \"first_seen!\", \
             to_char(last_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS \"last_seen!\", \
             topic_code, topic_epoch, raw_partition, raw_offset \
         FROM drift ORDER BY count DESC, drift.provider, drift.format, kind, shape"
    )
    .fetch_all(connection)
    .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let position = ItemPosition {
            topic: topic_of(row.topic_code)?,
            topic_epoch: u16::try_from(row.topic_epoch).map_err(|error| sqlx::Error::Decode(error.into()))?,
            partition: row.raw_partition,
            offset: row.raw_offset,
            item: 0,
        };
        all.push(Drift {
            fingerprint: row.fingerprint,
            provider: row.provider,
            format: row.format,
            kind: row.kind,
            shape: row.shape,
            count: row.count,
            first_seen: row.first_seen,
            last_seen: row.last_seen,
            receipt: key.issue(&position),
        });
    }
    Ok(all)
}
