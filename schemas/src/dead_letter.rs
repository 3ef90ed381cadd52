//! Dead letters: items that were refused, with the reason, as messages on the topic `dead-letters`.
//!
//! The value of a dead letter is the bytes of the item when one item was refused. It is empty when several items or the whole
//! payload were refused: the raw record contains them, and the position and the keyed hash identify that record. The key is the
//! position of the refused message.

use uuid::Uuid;

use crate::{
    codec::avro_enum,
    format::{Format, Provider},
    receipt::{ItemPosition, RawPosition},
    rejection::Reason,
};

/// Header names of dead letters. All values are UTF-8.
pub mod header {
    /// The topic of the refused message.
    pub const ORIGIN_TOPIC: &str = "origin-topic";
    /// The partition of the refused message.
    pub const ORIGIN_PARTITION: &str = "origin-partition";
    /// The offset of the refused message; of the message with the first item where one dead letter covers several messages.
    pub const ORIGIN_OFFSET: &str = "origin-offset";
    /// The timestamp of the refused message, microseconds since the epoch.
    pub const ORIGIN_TIMESTAMP: &str = "origin-timestamp";
    /// The refused item within the payload, the first one where there are several; absent when the whole message was refused.
    pub const ITEM: &str = "item";
    /// The number of consecutive items that were refused, at least 1; absent means 1.
    pub const ITEM_COUNT: &str = "item-count";
    /// The `_id` of the device that the items name ([`crate::identity::device_key`]); absent where they name no device, or where
    /// the name cannot be read.
    pub const DEVICE: &str = "device";
    /// The stage that refused the message.
    pub const STAGE: &str = "stage";
    /// A word of [`super::Reason`].
    pub const REASON: &str = "reason";
    /// What exactly is wrong, without health data.
    pub const DETAIL: &str = "detail";
    /// The keyed hash of the raw payload ([`crate::content`]), lower-case hexadecimal.
    pub const CONTENT_HMAC: &str = "hmac-sha256";
    /// How often the items have been mapped or stored, this time included; absent means 1.
    pub const ATTEMPT: &str = "attempt";
    /// The number of the replay that published the refused message; absent when it was the normalizer.
    pub const REPLAY: &str = "replay";
    /// The stable source name of the credential that sent the payload; absent when it is not known.
    pub const SOURCE: &str = "source";
    /// The id of the credential that sent the payload; absent when it is not known, and when a sink refused the items.
    pub const CREDENTIAL: &str = "credential";
    /// The correlation id of the request; absent when it is not known, and when a sink refused the items.
    pub const CORRELATION_ID: &str = "correlation-id";
    /// The format of the payload, or the command; absent when it is not known.
    pub const FORMAT: &str = "format";
    /// The provider of the payload; absent when it is not known, and for device commands.
    pub const PROVIDER: &str = "provider";
    /// The position of the raw record from which the message was made: the raw topic's word, epoch, partition and offset
    /// (`raw.medisante:1:0:42`). Present also when the refused message is on an event topic.
    pub const RAW_POSITION: &str = "raw-position";
}

avro_enum! {
    /// The stage that refused an item.
    pub enum Stage {
        /// The normalizer.
        Normalizer = "normalizer",
        /// The sink.
        Sink = "sink",
    }
}

/// A dead letter.
#[derive(Clone)]
pub struct DeadLetter {
    /// The full name of the topic of the refused message.
    pub origin_topic: String,
    /// The partition of the refused message.
    pub origin_partition: i32,
    /// The offset of the refused message; see [`header::ORIGIN_OFFSET`].
    pub origin_offset: i64,
    /// The timestamp of the refused message, microseconds since the epoch.
    pub origin_timestamp: i64,
    /// The refused item within the payload, the first one where there are several.
    pub item: Option<i32>,
    /// The number of consecutive items with this fault; 1 when the whole message was refused.
    pub item_count: i32,
    /// The `_id` of the device that the items name.
    pub device: Option<Uuid>,
    /// The stage that refused the message.
    pub stage: Stage,
    /// Why the message was refused.
    pub reason: Reason,
    /// What exactly is wrong, without health data.
    pub detail: String,
    /// The keyed hash of the raw payload, lower-case hexadecimal, where known.
    pub content_hmac: Option<String>,
    /// The raw record's position, see [`header::RAW_POSITION`].
    pub raw_position: Option<String>,
    /// What is known of the payload.
    pub about: AboutPayload,
    /// How often the items have been mapped or stored, this time included.
    pub attempt: i32,
    /// The number of the replay that published the refused message; `None` when it was the normalizer.
    pub replay: Option<i32>,
    /// The bytes of the item; empty when several items or the whole message were refused.
    pub value: Vec<u8>,
}

/// What is known of the payload of a dead letter.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AboutPayload {
    /// The stable source name of the credential.
    pub source: Option<String>,
    /// The id of the credential.
    pub credential: Option<String>,
    /// The correlation id of the request.
    pub correlation_id: Option<String>,
    /// The format of the payload, or the command, as in the header of the raw record.
    pub format: Option<String>,
    /// The provider.
    pub provider: Option<Provider>,
}

/// A message on the topic is not a dead letter. Contains the name of the header that is missing or invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header {0} of the dead letter is missing or invalid")]
pub struct DeadLetterError(pub &'static str);

impl DeadLetter {
    /// Returns the key of the message: the position of the refused message.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}:{}", self.origin_topic, self.origin_partition, self.origin_offset)
    }

    /// Returns the position that the sender's receipt names: that of the first item where each item has a receipt, else that of the
    /// payload. `None` when the raw record is not known.
    #[must_use]
    pub fn receipt_position(&self) -> Option<ItemPosition> {
        let raw: RawPosition = self.raw_position.as_deref()?.parse().ok()?;
        let format = self.about.format.as_deref().and_then(Format::from_word);
        let has_item_receipts =
            format.zip(raw.topic.provider()).is_some_and(|(format, provider)| format.has_item_receipts(provider));
        let item = self.item.filter(|_| has_item_receipts).and_then(|item| u32::try_from(item).ok());
        Some(ItemPosition {
            topic: raw.topic,
            topic_epoch: u16::try_from(raw.topic_epoch).ok()?,
            partition: raw.partition,
            offset: raw.offset,
            item: item.unwrap_or(0),
        })
    }

    /// Returns the headers of the message.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            (header::ORIGIN_TOPIC, self.origin_topic.clone()),
            (header::ORIGIN_PARTITION, self.origin_partition.to_string()),
            (header::ORIGIN_OFFSET, self.origin_offset.to_string()),
            (header::ORIGIN_TIMESTAMP, self.origin_timestamp.to_string()),
            (header::STAGE, self.stage.as_str().to_owned()),
            (header::REASON, self.reason.as_str().to_owned()),
            (header::DETAIL, self.detail.clone()),
            (header::ATTEMPT, self.attempt.to_string()),
        ];
        pairs.extend(self.item.map(|item| (header::ITEM, item.to_string())));
        pairs.extend((self.item_count != 1).then(|| (header::ITEM_COUNT, self.item_count.to_string())));
        pairs.extend(self.device.map(|device| (header::DEVICE, device.hyphenated().to_string())));
        pairs.extend(self.content_hmac.clone().map(|hash| (header::CONTENT_HMAC, hash)));
        pairs.extend(self.raw_position.clone().map(|position| (header::RAW_POSITION, position)));
        let AboutPayload { source, credential, correlation_id, format, provider } = &self.about;
        let texts = [
            (header::SOURCE, source),
            (header::CREDENTIAL, credential),
            (header::CORRELATION_ID, correlation_id),
            (header::FORMAT, format),
        ];
        pairs.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))));
        pairs.extend(provider.map(|provider| (header::PROVIDER, provider.as_str().to_owned())));
        pairs.extend(self.replay.map(|replay| (header::REPLAY, replay.to_string())));
        pairs
    }

    /// Reads a dead letter from the headers and the value of a message.
    ///
    /// # Errors
    /// [`DeadLetterError`] with the name of the header that is missing or invalid.
    pub fn read<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        value: &[u8],
    ) -> Result<Self, DeadLetterError> {
        let texts: Vec<(&str, &str)> = pairs
            .into_iter()
            .filter_map(|(name, value)| std::str::from_utf8(value).ok().map(|value| (name, value)))
            .collect();
        let find = |name: &'static str| texts.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
        let need = |name: &'static str| find(name).ok_or(DeadLetterError(name));
        Ok(Self {
            origin_topic: need(header::ORIGIN_TOPIC)?.to_owned(),
            origin_partition: number(header::ORIGIN_PARTITION, need(header::ORIGIN_PARTITION)?)?,
            origin_offset: number(header::ORIGIN_OFFSET, need(header::ORIGIN_OFFSET)?)?,
            origin_timestamp: number(header::ORIGIN_TIMESTAMP, need(header::ORIGIN_TIMESTAMP)?)?,
            item: find(header::ITEM).map(|text| number(header::ITEM, text)).transpose()?,
            item_count: find(header::ITEM_COUNT).map_or(Ok(1), |text| count(header::ITEM_COUNT, text))?,
            device: find(header::DEVICE).map(|text| number(header::DEVICE, text)).transpose()?,
            stage: Stage::from_word(need(header::STAGE)?).ok_or(DeadLetterError(header::STAGE))?,
            reason: Reason::from_word(need(header::REASON)?).ok_or(DeadLetterError(header::REASON))?,
            detail: find(header::DETAIL).unwrap_or_default().to_owned(),
            content_hmac: find(header::CONTENT_HMAC).map(str::to_owned),
            raw_position: find(header::RAW_POSITION).map(str::to_owned),
            about: AboutPayload {
                source: find(header::SOURCE).map(str::to_owned),
                credential: find(header::CREDENTIAL).map(str::to_owned),
                correlation_id: find(header::CORRELATION_ID).map(str::to_owned),
                format: find(header::FORMAT).map(str::to_owned),
                // A provider of a later release is not known here, and no reason to wait.
                provider: find(header::PROVIDER).and_then(Provider::from_word),
            },
            attempt: find(header::ATTEMPT).map_or(Ok(1), |text| count(header::ATTEMPT, text))?,
            replay: find(header::REPLAY).map(|text| count(header::REPLAY, text)).transpose()?,
            value: value.to_vec(),
        })
    }
}

fn count(name: &'static str, text: &str) -> Result<i32, DeadLetterError> {
    number(name, text).and_then(|count: i32| if count > 0 { Ok(count) } else { Err(DeadLetterError(name)) })
}

fn number<N: std::str::FromStr>(name: &'static str, text: &str) -> Result<N, DeadLetterError> {
    text.parse().map_err(|_| DeadLetterError(name))
}
