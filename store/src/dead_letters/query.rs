//! Reads dead letters.

use schemas::receipt::RawPosition;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Letter, LetterFilter, LetterId, LetterState};

/// A row of the table.
struct Stored {
    origin_topic: String,
    topic_epoch: i32,
    origin_partition: i32,
    origin_offset: i64,
    item: i32,
    item_count: i32,
    stage: String,
    reason: String,
    detail: String,
    state: String,
    state_at: Option<OffsetDateTime>,
    state_by: Option<String>,
    state_reason: Option<String>,
    attempts: i32,
    first_attempt_at: Option<OffsetDateTime>,
    last_attempt_at: Option<OffsetDateTime>,
    replay: i32,
    origin_at: Option<OffsetDateTime>,
    receipt: Option<String>,
    raw_topic: Option<String>,
    raw_partition: Option<i32>,
    raw_offset: Option<i64>,
    device_key: Option<Uuid>,
    provider: Option<String>,
    format: Option<String>,
    source: Option<String>,
    credential: Option<String>,
    correlation_id: Option<String>,
    letter_partition: i32,
    letter_offset: i64,
}

impl Stored {
    fn letter(self) -> Result<Letter, sqlx::Error> {
        let unknown = || sqlx::Error::Decode(format!("there is no state {}", self.state).into());
        let state = LetterState::from_word(&self.state).ok_or_else(unknown)?;
        let raw = self.raw_topic.zip(self.raw_partition).zip(self.raw_offset);
        let raw_record = raw.and_then(|((topic, partition), offset)| {
            format!("{topic}:{}:{partition}:{offset}", self.topic_epoch).parse().ok()
        });
        let id = LetterId {
            topic: self.origin_topic,
            topic_epoch: self.topic_epoch,
            partition: self.origin_partition,
            offset: self.origin_offset,
            item: self.item,
            stage: self.stage,
        };
        Ok(Letter {
            id,
            item_count: self.item_count,
            reason: self.reason,
            detail: self.detail,
            state,
            state_at: self.state_at,
            state_by: self.state_by,
            state_reason: self.state_reason,
            attempts: self.attempts,
            first_attempt_at: self.first_attempt_at,
            last_attempt_at: self.last_attempt_at,
            replay: self.replay,
            received_at: self.origin_at,
            receipt: self.receipt,
            raw_record,
            device_key: self.device_key,
            provider: self.provider,
            format: self.format,
            source: self.source,
            credential: self.credential,
            correlation_id: self.correlation_id,
            letter_partition: self.letter_partition,
            letter_offset: self.letter_offset,
        })
    }
}

/// Returns the dead letters that match a filter, those that were refused last first, at most `count_max`.
///
/// # Errors
/// Postgres is unavailable.
pub async fn list(
    connection: &mut PgConnection,
    filter: &LetterFilter,
    count_max: i64,
) -> Result<Vec<Letter>, sqlx::Error> {
    let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
    let rows = sqlx::query_as!(
        Stored,
        "SELECT origin_topic, topic_epoch, origin_partition, origin_offset, item, item_count, stage, reason, detail, state, state_at, \
             state_by, state_reason, attempts, first_attempt_at, last_attempt_at, replay, origin_at, receipt, raw_topic, raw_partition, \
             raw_offset, device_key, provider, format, source, credential, correlation_id, letter_partition, letter_offset \
         FROM dead_letters \
         WHERE state = ANY($1) AND ($2::text IS NULL OR reason = $2) AND ($3::uuid[] IS NULL OR device_key = ANY($3)) \
             AND ($4::text IS NULL OR provider = $4) AND ($5::text IS NULL OR source = $5) \
             AND ($6::timestamptz IS NULL OR coalesce(last_attempt_at, origin_at) >= $6) \
             AND ($7::timestamptz IS NULL OR coalesce(last_attempt_at, origin_at) < $7) \
         ORDER BY coalesce(last_attempt_at, origin_at) DESC NULLS LAST, origin_topic, topic_epoch, origin_partition, origin_offset, item, \
             stage \
         LIMIT $8",
        states as _,
        filter.reason,
        filter.device_keys.as_deref(),
        filter.provider,
        filter.source,
        filter.since,
        filter.until,
        count_max
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Stored::letter).collect()
}

/// Returns a dead letter; `None` if there is none with this id.
///
/// # Errors
/// Postgres is unavailable.
pub async fn get(connection: &mut PgConnection, id: &LetterId) -> Result<Option<Letter>, sqlx::Error> {
    let row = sqlx::query_as!(
        Stored,
        "SELECT origin_topic, topic_epoch, origin_partition, origin_offset, item, item_count, stage, reason, detail, state, state_at, \
             state_by, state_reason, attempts, first_attempt_at, last_attempt_at, replay, origin_at, receipt, raw_topic, raw_partition, \
             raw_offset, device_key, provider, format, source, credential, correlation_id, letter_partition, letter_offset \
         FROM dead_letters \
         WHERE origin_topic = $1 AND topic_epoch = $2 AND origin_partition = $3 AND origin_offset = $4 AND item = $5 AND stage = $6",
        id.topic,
        id.topic_epoch,
        id.partition,
        id.offset,
        id.item,
        id.stage
    )
    .fetch_optional(connection)
    .await?;
    row.map(Stored::letter).transpose()
}

/// Returns the dead letters about a raw record, ordered by item and stage.
///
/// # Errors
/// Postgres is unavailable.
pub async fn of_record(connection: &mut PgConnection, raw: &RawPosition) -> Result<Vec<Letter>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Stored,
        "SELECT origin_topic, topic_epoch, origin_partition, origin_offset, item, item_count, stage, reason, detail, state, state_at, \
             state_by, state_reason, attempts, first_attempt_at, last_attempt_at, replay, origin_at, receipt, raw_topic, raw_partition, \
             raw_offset, device_key, provider, format, source, credential, correlation_id, letter_partition, letter_offset \
         FROM dead_letters WHERE raw_offset = $4 AND raw_partition = $3 AND raw_topic = $1 AND topic_epoch = $2 \
         ORDER BY item, stage, origin_topic, origin_partition, origin_offset",
        raw.topic.as_str(),
        raw.topic_epoch,
        raw.partition,
        raw.offset
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Stored::letter).collect()
}

/// Returns the number of payloads and items that are refused since a time and name no device, so that they cannot be found by a device
/// or its holder.
///
/// # Errors
/// Postgres is unavailable.
pub async fn without_device(
    connection: &mut PgConnection,
    since: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT coalesce(sum(item_count), 0)::bigint AS \"items!\" FROM dead_letters \
         WHERE state IN ('open', 'redriven') AND device_key IS NULL AND raw_topic IS DISTINCT FROM 'raw.devices' \
             AND origin_at >= $1 AND origin_at < $2",
        since,
        until
    )
    .fetch_one(connection)
    .await
}
