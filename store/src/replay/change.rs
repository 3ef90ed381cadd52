//! What a replay found to be different.

use schemas::{format::RawTopic, receipt::RawPosition};
use sqlx::PgConnection;
use uuid::Uuid;

use super::RawRange;

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// The mapping produces a reading that is not stored, or that is withdrawn.
    Added,
    /// The mapping produces a stored reading with other fields.
    Changed,
    /// An item no longer yields a stored reading; whether another record yields it is not known, or one does.
    Missing,
    /// No record yields a stored reading any more.
    Withdrawn,
    /// The record yields a reading that another one no longer yields.
    Moved,
    /// The mapping produces a device command that is not stored, or is stored with other fields.
    Command,
    /// The outcome of the record or its refused items differ.
    Record,
}

impl ChangeKind {
    const ALL: [Self; 7] =
        [Self::Added, Self::Changed, Self::Missing, Self::Withdrawn, Self::Moved, Self::Command, Self::Record];

    /// Returns the word in the table and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Withdrawn => "withdrawn",
            Self::Moved => "moved",
            Self::Command => "command",
            Self::Record => "record",
        }
    }

    pub(super) fn from_word(word: &str) -> Result<Self, sqlx::Error> {
        let unknown = || sqlx::Error::Decode(format!("a change of a replay has the unknown kind {word}").into());
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(unknown)
    }
}

/// A difference. Changes are ordered by position, subject and item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The raw record.
    pub raw: RawPosition,
    /// The item of the raw record; -1 for the record as a whole.
    pub item: i32,
    /// How it differs.
    pub kind: ChangeKind,
    /// The reading or the device; nil for the record as a whole.
    pub subject_id: Uuid,
    /// The fields that differ.
    pub fields: Vec<String>,
    /// The system of the code.
    pub code_system: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// The display text of the code.
    pub display: Option<String>,
    /// The device's identifier at its provider.
    pub device_id: Option<String>,
    /// A hash over the stored reading or command; `None` if none was stored.
    pub before: Option<Uuid>,
}

/// The end of a page of changes, after which the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePosition {
    raw: RawPosition,
    subject_id: Uuid,
    item: i32,
}

impl PagePosition {
    /// Returns the position after a change.
    #[must_use]
    pub const fn after(change: &Change) -> Self {
        Self { raw: change.raw, subject_id: change.subject_id, item: change.item }
    }
}

/// Stores changes. A change of the same item and subject that is stored already stays as it is.
///
/// # Errors
/// Postgres is unavailable.
pub async fn add_changes(connection: &mut PgConnection, replay_id: i32, changes: &[Change]) -> Result<(), sqlx::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let texts =
        |pick: for<'c> fn(&'c Change) -> Option<&'c str>| -> Vec<Option<&str>> { changes.iter().map(pick).collect() };
    sqlx::query!(
        "INSERT INTO replay_changes (replay_id, topic, topic_epoch, raw_partition, raw_offset, item, kind, subject_id, fields, \
             code_system, code, display, device_id, before) \
         SELECT $1, topic, epoch, partition, log_offset, item, kind, subject, string_to_array(fields, ','), code_system, code, \
             display, device, before \
         FROM unnest($2::text[], $3::integer[], $4::integer[], $5::bigint[], $6::integer[], $7::text[], $8::uuid[], $9::text[], \
             $10::text[], $11::text[], $12::text[], $13::text[], $14::uuid[]) \
             n(topic, epoch, partition, log_offset, item, kind, subject, fields, code_system, code, display, device, before) \
         ON CONFLICT DO NOTHING",
        replay_id,
        changes.iter().map(|change| change.raw.topic.as_str()).collect::<Vec<_>>() as _,
        changes.iter().map(|change| change.raw.topic_epoch).collect::<Vec<_>>() as _,
        changes.iter().map(|change| change.raw.partition).collect::<Vec<_>>() as _,
        changes.iter().map(|change| change.raw.offset).collect::<Vec<_>>() as _,
        changes.iter().map(|change| change.item).collect::<Vec<_>>() as _,
        changes.iter().map(|change| change.kind.as_str()).collect::<Vec<_>>() as _,
        changes.iter().map(|change| change.subject_id).collect::<Vec<_>>() as _,
        changes.iter().map(|change| change.fields.join(",")).collect::<Vec<_>>() as _,
        texts(|change| change.code_system.as_deref()) as _,
        texts(|change| change.code.as_deref()) as _,
        texts(|change| change.display.as_deref()) as _,
        texts(|change| change.device_id.as_deref()) as _,
        changes.iter().map(|change| change.before).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the changes of a partition from an offset on.
///
/// # Errors
/// Postgres is unavailable.
pub async fn forget_changes(
    connection: &mut PgConnection,
    replay_id: i32,
    range: &RawRange,
    from: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM replay_changes \
         WHERE replay_id = $1 AND topic = $2 AND topic_epoch = $3 AND raw_partition = $4 AND raw_offset >= $5 AND raw_offset < $6",
        replay_id,
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        from,
        range.end
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the added readings that were stored since. Returns their number.
///
/// # Errors
/// Postgres is unavailable.
pub async fn forget_arrived(connection: &mut PgConnection, replay_id: i32) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        "DELETE FROM replay_changes c USING readings r \
         WHERE c.replay_id = $1 AND c.kind = 'added' AND r.reading_id = c.subject_id AND r.withdrawn IS NOT TRUE",
        replay_id
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}

/// Returns the missing readings.
///
/// # Errors
/// Postgres is unavailable.
pub async fn missing(connection: &mut PgConnection, replay_id: i32) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT subject_id FROM replay_changes WHERE replay_id = $1 AND kind = 'missing'",
        replay_id
    )
    .fetch_all(connection)
    .await
}

/// Marks the missing readings that no record yields as withdrawn.
///
/// # Errors
/// Postgres is unavailable.
pub async fn settle_missing(connection: &mut PgConnection, replay_id: i32) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE replay_changes c SET kind = 'withdrawn' \
         WHERE c.replay_id = $1 AND c.kind = 'missing' \
           AND NOT EXISTS (SELECT FROM replay_changes m WHERE m.replay_id = $1 AND m.subject_id = c.subject_id \
                           AND m.kind IN ('moved', 'added', 'changed'))",
        replay_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct ChangeRow {
    topic: String,
    topic_epoch: i32,
    raw_partition: i32,
    raw_offset: i64,
    item: i32,
    kind: String,
    subject_id: Uuid,
    fields: Vec<String>,
    code_system: Option<String>,
    code: Option<String>,
    display: Option<String>,
    device_id: Option<String>,
    before: Option<Uuid>,
}

impl ChangeRow {
    fn change(self) -> Result<Change, sqlx::Error> {
        let unknown = || sqlx::Error::Decode(format!("there is no raw topic {}", self.topic).into());
        let topic = RawTopic::from_word(&self.topic).ok_or_else(unknown)?;
        Ok(Change {
            raw: RawPosition {
                topic,
                topic_epoch: self.topic_epoch,
                partition: self.raw_partition,
                offset: self.raw_offset,
            },
            item: self.item,
            kind: ChangeKind::from_word(&self.kind)?,
            subject_id: self.subject_id,
            fields: self.fields,
            code_system: self.code_system,
            code: self.code,
            display: self.display,
            device_id: self.device_id,
            before: self.before,
        })
    }
}

/// Returns a page of changes, in their order; of an aborted replay, of those that it had published.
///
/// # Errors
/// Postgres is unavailable.
pub async fn changes(
    connection: &mut PgConnection,
    replay_id: i32,
    after: Option<&PagePosition>,
    limit: i64,
) -> Result<Vec<Change>, sqlx::Error> {
    let rows = sqlx::query_as!(
        ChangeRow,
        "SELECT topic, topic_epoch, raw_partition, raw_offset, item, kind, subject_id, fields, code_system, code, display, device_id, \
             before \
         FROM replay_changes c \
         WHERE replay_id = $1 AND ($2::text IS NULL OR \
             (topic, topic_epoch, raw_partition, raw_offset, subject_id, item) > ($2, $3::integer, $4::integer, $5::bigint, $6::uuid, \
              $7::integer)) \
           AND (NOT EXISTS (SELECT FROM replays WHERE replay_id = $1 AND state = 'aborted') \
               OR EXISTS (SELECT FROM replay_ranges a WHERE a.replay_id = $1 AND a.pass = 'apply' AND a.topic = c.topic \
                          AND a.topic_epoch = c.topic_epoch AND a.raw_partition = c.raw_partition AND c.raw_offset < a.next_offset)) \
         ORDER BY topic, topic_epoch, raw_partition, raw_offset, subject_id, item LIMIT $8",
        replay_id,
        after.map(|after| after.raw.topic.as_str()),
        after.map(|after| after.raw.topic_epoch),
        after.map(|after| after.raw.partition),
        after.map(|after| after.raw.offset),
        after.map(|after| after.subject_id),
        after.map(|after| after.item),
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(ChangeRow::change).collect()
}

/// Returns the offsets of the records of a range that have changes, in order; at most `limit` of them, from `from` on.
///
/// # Errors
/// Postgres is unavailable.
pub async fn changed_offsets(
    connection: &mut PgConnection,
    replay_id: i32,
    range: &RawRange,
    from: i64,
    limit: i64,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT raw_offset FROM replay_changes \
         WHERE replay_id = $1 AND topic = $2 AND topic_epoch = $3 AND raw_partition = $4 AND raw_offset >= $5 AND raw_offset < $6 \
         ORDER BY raw_offset LIMIT $7",
        replay_id,
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        from,
        range.end,
        limit
    )
    .fetch_all(connection)
    .await
}

/// Returns the changes of some records of a partition.
///
/// # Errors
/// Postgres is unavailable.
pub async fn changes_of(
    connection: &mut PgConnection,
    replay_id: i32,
    range: &RawRange,
    offsets: &[i64],
) -> Result<Vec<Change>, sqlx::Error> {
    let rows = sqlx::query_as!(
        ChangeRow,
        "SELECT topic, topic_epoch, raw_partition, raw_offset, item, kind, subject_id, fields, code_system, code, display, device_id, \
             before \
         FROM replay_changes \
         WHERE replay_id = $1 AND topic = $2 AND topic_epoch = $3 AND raw_partition = $4 AND raw_offset = ANY($5) \
         ORDER BY raw_offset, subject_id, item",
        replay_id,
        range.topic.as_str(),
        i32::from(range.topic_epoch),
        range.partition,
        offsets
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(ChangeRow::change).collect()
}
