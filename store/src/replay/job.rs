//! Replays and their progress.

use schemas::format::RawTopic;
use sqlx::{PgConnection, types::time::OffsetDateTime};

use super::RawRange;

/// The kind of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Compares the records of its scope; an operator then applies it or not.
    Compare,
    /// Maps the records of dead letters again, and applies the result.
    Redrive,
}

impl JobKind {
    /// Returns the word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compare => "compare",
            Self::Redrive => "redrive",
        }
    }

    fn from_word(word: &str) -> Result<Self, sqlx::Error> {
        [Self::Compare, Self::Redrive].into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| unknown(word))
    }
}

/// The state of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// It reads and compares records.
    Comparing,
    /// It has compared all records, and is not applied.
    Compared,
    /// It publishes its changes.
    Applying,
    /// Its changes are stored.
    Applied,
    /// An operator ended it.
    Aborted,
}

impl JobState {
    const ALL: [Self; 5] = [Self::Comparing, Self::Compared, Self::Applying, Self::Applied, Self::Aborted];

    /// Returns the word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Comparing => "comparing",
            Self::Compared => "compared",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Aborted => "aborted",
        }
    }

    fn from_word(word: &str) -> Result<Self, sqlx::Error> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| unknown(word))
    }
}

/// What a replay reads records for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It compares the records of the scope.
    Compare,
    /// It finds the records, also outside the scope, that yield a missing reading.
    Find,
    /// It publishes the changes.
    Apply,
}

impl Pass {
    /// Returns the word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compare => "compare",
            Self::Find => "find",
            Self::Apply => "apply",
        }
    }
}

/// A replay that is to be stored.
pub struct NewJob<'a> {
    /// The kind.
    pub kind: JobKind,
    /// The scope, as JSON.
    pub scope: &'a str,
    /// The version of the mapping.
    pub mapping_version: i32,
    /// The revision of the installation's own catalogue; 0 without one.
    pub catalogue_revision: i32,
    /// The SHA-256 of the catalogue file.
    pub catalogue_sha256: Option<&'a str>,
    /// Who started the replay.
    pub operator: &'a str,
}

/// A stored replay.
pub struct Job {
    /// The number.
    pub replay_id: i32,
    /// The kind.
    pub kind: JobKind,
    /// The scope, as JSON.
    pub scope: String,
    /// The version of the mapping.
    pub mapping_version: i32,
    /// The revision of the installation's own catalogue; 0 without one.
    pub catalogue_revision: i32,
    /// The SHA-256 of the catalogue file.
    pub catalogue_sha256: Option<String>,
    /// The state.
    pub state: JobState,
    /// Who started the replay.
    pub operator: String,
    /// When it was started.
    pub created_at: OffsetDateTime,
    /// When the state changed.
    pub changed_at: OffsetDateTime,
}

/// A range of raw records that a replay reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRange {
    /// The records.
    pub range: RawRange,
    /// The offset of the next record to read.
    pub next: i64,
    /// What was counted in the records read so far, as JSON.
    pub counts: String,
}

fn unknown(word: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("a replay has the unknown word {word}").into())
}

/// Returns the redrives that have begun with a mapping and a catalogue and have not ended: their numbers and their scopes, as JSON.
///
/// # Errors
/// Postgres is unavailable.
pub async fn unfinished_redrives(
    connection: &mut PgConnection,
    (mapping_version, catalogue_revision, catalogue_sha256): (i32, i32, Option<&str>),
) -> Result<Vec<(i32, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT replay_id, scope::text AS \"scope!\" FROM replays \
         WHERE kind = $1 AND mapping_version = $2 AND catalogue_revision = $3 AND catalogue_sha256 IS NOT DISTINCT FROM $4 \
             AND state IN ('comparing', 'compared', 'applying') \
         ORDER BY replay_id",
        JobKind::Redrive.as_str(),
        mapping_version,
        catalogue_revision,
        catalogue_sha256
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.replay_id, row.scope)).collect())
}

/// Stores a replay in the state `comparing`. Returns its number.
///
/// # Errors
/// Postgres is unavailable.
pub async fn create(connection: &mut PgConnection, new: &NewJob<'_>) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO replays (kind, scope, mapping_version, catalogue_revision, catalogue_sha256, state, operator) \
         VALUES ($1, $2::text::jsonb, $3, $4, $5, 'comparing', $6) RETURNING replay_id",
        new.kind.as_str(),
        new.scope,
        new.mapping_version,
        new.catalogue_revision,
        new.catalogue_sha256,
        new.operator
    )
    .fetch_one(connection)
    .await
}

/// Returns a replay; `None` if there is none with the number.
///
/// # Errors
/// Postgres is unavailable.
pub async fn job(connection: &mut PgConnection, replay_id: i32) -> Result<Option<Job>, sqlx::Error> {
    Ok(load(connection, Some(replay_id)).await?.pop())
}

/// Returns all replays, ordered by number.
///
/// # Errors
/// Postgres is unavailable.
pub async fn jobs(connection: &mut PgConnection) -> Result<Vec<Job>, sqlx::Error> {
    load(connection, None).await
}

async fn load(connection: &mut PgConnection, replay_id: Option<i32>) -> Result<Vec<Job>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT replay_id, kind, scope::text AS \"scope!\", mapping_version, catalogue_revision, catalogue_sha256, state, operator, \
             created_at, changed_at \
         FROM replays WHERE $1::integer IS NULL OR replay_id = $1 ORDER BY replay_id",
        replay_id
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Job {
                replay_id: row.replay_id,
                kind: JobKind::from_word(&row.kind)?,
                scope: row.scope,
                mapping_version: row.mapping_version,
                catalogue_revision: row.catalogue_revision,
                catalogue_sha256: row.catalogue_sha256,
                state: JobState::from_word(&row.state)?,
                operator: row.operator,
                created_at: row.created_at,
                changed_at: row.changed_at,
            })
        })
        .collect()
}

/// Changes the state of a replay. Returns whether it was in one of the states `from`.
///
/// # Errors
/// Postgres is unavailable.
pub async fn set_state(
    connection: &mut PgConnection,
    replay_id: i32,
    from: &[JobState],
    to: JobState,
) -> Result<bool, sqlx::Error> {
    let from: Vec<String> = from.iter().map(|state| state.as_str().to_owned()).collect();
    let changed = sqlx::query!(
        "UPDATE replays SET state = $3, changed_at = now() WHERE replay_id = $1 AND state = ANY($2)",
        replay_id,
        &from,
        to.as_str()
    )
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Stores the ranges of a pass. Ranges that are stored already keep their progress.
///
/// # Errors
/// Postgres is unavailable.
pub async fn add_ranges(
    connection: &mut PgConnection,
    replay_id: i32,
    pass: Pass,
    ranges: &[(RawRange, String)],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO replay_ranges (replay_id, pass, topic, topic_epoch, raw_partition, first_offset, end_offset, next_offset, counts) \
         SELECT $1, $2, topic, epoch, partition, first, behind, first, counts::jsonb \
         FROM unnest($3::text[], $4::integer[], $5::integer[], $6::bigint[], $7::bigint[], $8::text[]) \
             n(topic, epoch, partition, first, behind, counts) \
         ON CONFLICT DO NOTHING",
        replay_id,
        pass.as_str(),
        ranges.iter().map(|(range, _)| range.topic.as_str()).collect::<Vec<_>>() as _,
        ranges.iter().map(|(range, _)| i32::from(range.topic_epoch)).collect::<Vec<_>>() as _,
        ranges.iter().map(|(range, _)| range.partition).collect::<Vec<_>>() as _,
        ranges.iter().map(|(range, _)| range.first).collect::<Vec<_>>() as _,
        ranges.iter().map(|(range, _)| range.end).collect::<Vec<_>>() as _,
        ranges.iter().map(|(_, counts)| counts.as_str()).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the ranges of a pass, with their progress.
///
/// # Errors
/// Postgres is unavailable.
pub async fn ranges(connection: &mut PgConnection, replay_id: i32, pass: Pass) -> Result<Vec<JobRange>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT topic, topic_epoch, raw_partition, first_offset, end_offset, next_offset, counts::text AS \"counts!\" \
         FROM replay_ranges WHERE replay_id = $1 AND pass = $2 ORDER BY topic, topic_epoch, raw_partition",
        replay_id,
        pass.as_str()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let range = RawRange {
                topic: RawTopic::from_word(&row.topic).ok_or_else(|| unknown(&row.topic))?,
                topic_epoch: u16::try_from(row.topic_epoch).map_err(|error| sqlx::Error::Decode(error.into()))?,
                partition: row.raw_partition,
                first: row.first_offset,
                end: row.end_offset,
            };
            Ok(JobRange { range, next: row.next_offset, counts: row.counts })
        })
        .collect()
}

/// Stores how far a range was read, also if the replay was aborted meanwhile. Returns whether it goes on.
///
/// # Errors
/// Postgres is unavailable.
pub async fn advance(
    connection: &mut PgConnection,
    replay_id: i32,
    pass: Pass,
    progress: &JobRange,
) -> Result<bool, sqlx::Error> {
    let JobRange { range, next, counts } = progress;
    let goes_on = sqlx::query_scalar!(
        "UPDATE replay_ranges SET next_offset = $6, counts = $7::text::jsonb \
         WHERE replay_id = $1 AND pass = $2 AND topic = $3 AND topic_epoch = $4 AND raw_partition = $5 \
         RETURNING EXISTS (SELECT FROM replays WHERE replay_id = $1 AND state IN ('comparing', 'applying')) AS \"goes_on!\"",
        replay_id,
        pass.as_str(),
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        next,
        counts
    )
    .fetch_optional(connection)
    .await?;
    Ok(goes_on == Some(true))
}
