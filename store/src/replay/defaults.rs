//! Which records were mapped with the defaults of a library, although they declare none.

use schemas::format::Defaults;
use sqlx::PgConnection;

use super::RawRange;

/// Adjacent raw records to which a replay has applied the defaults of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultsRun {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// The defaults.
    pub defaults: Defaults,
}

/// Returns the records of a range to which replays have applied defaults, ordered by offset: those that the latest such replay lists
/// and has published, as far as its progress is stored.
///
/// # Errors
/// Postgres is unavailable, or contains defaults that this release does not know.
pub async fn applied_defaults(
    connection: &mut PgConnection,
    range: &RawRange,
) -> Result<Vec<DefaultsRun>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT min(raw_offset) AS \"first!\", max(raw_offset) AS \"last!\", defaults AS \"defaults!\" \
         FROM (SELECT raw_offset, defaults, \
                   raw_offset - row_number() OVER (PARTITION BY defaults ORDER BY raw_offset) AS run \
               FROM (SELECT DISTINCT ON (c.raw_offset) c.raw_offset, r.scope ->> 'defaults' AS defaults \
                     FROM replays r \
                     JOIN replay_ranges a ON a.replay_id = r.replay_id AND a.pass = 'apply' AND a.topic = $1 \
                         AND a.topic_epoch = $2 AND a.raw_partition = $3 \
                     JOIN replay_changes c ON c.replay_id = r.replay_id AND c.topic = $1 AND c.topic_epoch = $2 \
                         AND c.raw_partition = $3 AND c.raw_offset >= $4 AND c.raw_offset < $5 AND c.raw_offset < a.next_offset \
                     WHERE r.scope ->> 'defaults' IS NOT NULL \
                     ORDER BY c.raw_offset, r.replay_id DESC) record) run \
         GROUP BY defaults, run ORDER BY 1",
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        range.first,
        range.end
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let unknown = || sqlx::Error::Decode(format!("a replay has the unknown defaults {}", row.defaults).into());
            let defaults = Defaults::parse(&row.defaults).ok_or_else(unknown)?;
            Ok(DefaultsRun { first: row.first, last: row.last, defaults })
        })
        .collect()
}
