//! The dead letters in the table: what was refused, and what became of it; for `device-manager dead-letters` and `find`.

mod change;
mod query;

use std::{fmt, str::FromStr};

use schemas::receipt::RawPosition;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use uuid::Uuid;

pub use change::{discard, end_redrive, mark_redriven};
pub use query::{get, list, of_record, without_device};

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
