//! The dead letters in the table: what was refused, and what became of it; for `device-manager dead-letters` and `find`.

use std::{fmt, str::FromStr};

use schemas::receipt::RawPosition;
use serde::{Serialize, Serializer};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// What identifies a dead letter: the refused record, the first item and the stage. Its text is these joined by colons, with `-` for
/// the whole payload: `raw.healthkit:0:2:17:3:normalizer` is item 3 of the record at offset 17 of partition 2 in topic epoch 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterId {
    /// The full name of the topic of the refused record.
    pub topic: String,
    /// The epoch of the raw topic; -1 when it is not known.
    pub topic_epoch: i32,
    /// The partition of the refused record.
    pub partition: i32,
    /// The offset of the refused record.
    pub offset: i64,
    /// The first item; -1 for the whole payload.
    pub item: i32,
    /// The stage that refused the items.
    pub stage: String,
}

/// A text is not the id of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the id of a dead letter, such as raw.healthkit:0:2:17:3:normalizer")]
pub struct NotALetterId;

impl fmt::Display for LetterId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, topic_epoch, partition, offset, item, stage } = self;
        write!(to, "{topic}:{topic_epoch}:{partition}:{offset}:")?;
        if *item < 0 { write!(to, "-:{stage}") } else { write!(to, "{item}:{stage}") }
    }
}

impl FromStr for LetterId {
    type Err = NotALetterId;

    fn from_str(text: &str) -> Result<Self, NotALetterId> {
        let parts: Vec<&str> = text.split(':').collect();
        let [topic, topic_epoch, partition, offset, item, stage] = parts.as_slice() else { return Err(NotALetterId) };
        Ok(Self {
            topic: (*topic).to_owned(),
            topic_epoch: topic_epoch.parse().map_err(|_| NotALetterId)?,
            partition: partition.parse().map_err(|_| NotALetterId)?,
            offset: offset.parse().map_err(|_| NotALetterId)?,
            item: if *item == "-" { -1 } else { item.parse().map_err(|_| NotALetterId)? },
            stage: (*stage).to_owned(),
        })
    }
}

impl Serialize for LetterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The state of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LetterState {
    /// The items are refused.
    Open,
    /// An operator has the items mapped again.
    Redriven,
    /// The items are accepted now, or a later dead letter is about them.
    Resolved,
    /// An operator has decided that nothing is to be done.
    Discarded,
}

impl LetterState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Open, Self::Redriven, Self::Resolved, Self::Discarded];
    /// The states in which items are still refused and nobody has decided to leave it so.
    pub const UNSETTLED: [Self; 2] = [Self::Open, Self::Redriven];

    /// Returns the word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Redriven => "redriven",
            Self::Resolved => "resolved",
            Self::Discarded => "discarded",
        }
    }

    /// Parses the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A dead letter without its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// What identifies it.
    pub id: LetterId,
    /// The number of consecutive items from the one in the id on.
    pub item_count: i32,
    /// Why the items were refused.
    pub reason: String,
    /// What exactly is wrong.
    pub detail: String,
    /// Its state.
    pub state: LetterState,
    /// When the state changed; `None` if it was always open.
    #[serde(with = "time::serde::rfc3339::option")]
    pub state_at: Option<OffsetDateTime>,
    /// The operator who changed it; `None` if it was a sink.
    pub state_by: Option<String>,
    /// Why an operator discarded it.
    pub state_reason: Option<String>,
    /// How often the items were refused.
    pub attempts: i32,
    /// When they were refused first.
    #[serde(with = "time::serde::rfc3339::option")]
    pub first_attempt_at: Option<OffsetDateTime>,
    /// When they were refused last.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_attempt_at: Option<OffsetDateTime>,
    /// The number of the replay that refused them last; 0 when it was a stage.
    pub replay: i32,
    /// When Kafka received the refused record.
    #[serde(with = "time::serde::rfc3339::option")]
    pub received_at: Option<OffsetDateTime>,
    /// The receipt of the payload or of the first item.
    pub receipt: Option<String>,
    /// The raw record.
    pub raw_record: Option<RawPosition>,
    /// The device that the items name.
    pub device_key: Option<Uuid>,
    /// The provider of the payload.
    pub provider: Option<String>,
    /// The format of the payload.
    pub format: Option<String>,
    /// The stable source name of the credential.
    pub source: Option<String>,
    /// The id of the credential.
    pub credential: Option<String>,
    /// The correlation id of the request.
    pub correlation_id: Option<String>,
    /// The partition of the dead letter on its topic.
    #[serde(skip)]
    pub letter_partition: i32,
    /// The offset of the dead letter on its topic.
    #[serde(skip)]
    pub letter_offset: i64,
}

/// Which dead letters are listed. An absent condition does not restrict them.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter {
    /// Only those in one of these states.
    pub states: Vec<LetterState>,
    /// Only those with this reason.
    pub reason: Option<String>,
    /// Only those about one of these devices.
    pub device_keys: Option<Vec<Uuid>>,
    /// Only those about payloads of this provider.
    pub provider: Option<String>,
    /// Only those about payloads of this source.
    pub source: Option<String>,
    /// Only those whose items were refused at this time or later.
    pub since: Option<OffsetDateTime>,
    /// Only those whose items were refused before this time.
    pub until: Option<OffsetDateTime>,
}

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

/// Discards dead letters that are open or redriven. Returns how many that were; if one of them is neither any more, nothing is
/// changed.
///
/// # Errors
/// Postgres is unavailable.
pub async fn discard(
    connection: &mut PgConnection,
    ids: &[LetterId],
    operator: &str,
    reason: &str,
) -> Result<u64, sqlx::Error> {
    let mut transaction = sqlx::Connection::begin(connection).await?;
    let mut discarded = 0;
    for id in ids {
        discarded += sqlx::query!(
            "UPDATE dead_letters SET state = 'discarded', state_at = now(), state_by = $7, state_reason = $8 \
             WHERE origin_topic = $1 AND topic_epoch = $2 AND origin_partition = $3 AND origin_offset = $4 AND item = $5 AND stage = $6 \
                 AND state IN ('open', 'redriven')",
            id.topic,
            id.topic_epoch,
            id.partition,
            id.offset,
            id.item,
            id.stage,
            operator,
            reason
        )
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    }
    if discarded == ids.len() as u64 {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(discarded)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_dead_letter_is_read_as_it_is_printed() {
        for text in
            ["raw.healthkit:0:2:17:3:normalizer", "eu.raw.medisante:1:0:9:-:normalizer", "readings:-1:0:9:-:sink"]
        {
            assert_eq!(text.parse::<LetterId>().unwrap().to_string(), text);
        }
        for text in ["", "17", "raw.healthkit:0:2:17:3", "raw.healthkit:0:2:x:3:sink", "a:0:2:17:3:sink:1"] {
            assert_eq!(text.parse::<LetterId>(), Err(NotALetterId), "{text}");
        }
    }
}
