//! Receipts: the position of a payload as one opaque URL-safe word, which cannot be guessed and needs no table.
//!
//! A receipt is 27 bytes in base64url (RFC 4648, section 5): topic code (1), topic epoch (2), partition (4), offset (8), item (4),
//! all big-endian, and the first 8 bytes of an HMAC-SHA256 (RFC 2104) over them. 27 bytes are exactly 36 characters, so there is
//! no padding, and the view `attributed_readings` can build the word from its columns.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::{Serialize, Serializer};
use sha2::Sha256;

use crate::format::RawTopic;

const POSITION_BYTES: usize = 19;
const MAC_BYTES: usize = 8;

/// The position of a payload, or of one item of it, in a raw topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ItemPosition {
    /// The raw topic.
    pub topic: RawTopic,
    /// The epoch of the raw topic. An operator raises it when the topic is created anew, so that no position denotes two records.
    pub topic_epoch: u16,
    /// The partition, never negative.
    pub partition: i32,
    /// The offset, never negative.
    pub offset: i64,
    /// The item; 0 for the payload as a whole.
    pub item: u32,
}

/// The position of a raw record. Its text is the topic's word, epoch, partition and offset: `raw.medisante:1:0:42`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawPosition {
    /// The raw topic.
    pub topic: RawTopic,
    /// The epoch of the raw topic.
    pub topic_epoch: i32,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A text is not the position of a raw record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a raw position")]
pub struct NotARawPosition;

impl fmt::Display for RawPosition {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, topic_epoch, partition, offset } = self;
        write!(to, "{}:{topic_epoch}:{partition}:{offset}", topic.as_str())
    }
}

impl Serialize for RawPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for RawPosition {
    type Err = NotARawPosition;

    fn from_str(text: &str) -> Result<Self, NotARawPosition> {
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or(NotARawPosition);
        let position = Self {
            topic: RawTopic::from_word(next()?).ok_or(NotARawPosition)?,
            topic_epoch: next()?.parse().map_err(|_| NotARawPosition)?,
            partition: next()?.parse().map_err(|_| NotARawPosition)?,
            offset: next()?.parse().map_err(|_| NotARawPosition)?,
        };
        if parts.next().is_some() { Err(NotARawPosition) } else { Ok(position) }
    }
}

/// A word is not a receipt of this installation. The error gives no reason, so that it does not help anyone to guess a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a receipt of this installation")]
pub struct NotAReceipt;

/// The secret that signs receipts. It has neither `Debug` nor `Display`.
#[derive(Clone)]
pub struct ReceiptKey(Hmac<Sha256>);

impl ReceiptKey {
    /// Creates the key from 32 random bytes.
    ///
    /// # Errors
    /// [`NotAReceipt`], which never occurs in practice, because HMAC accepts keys of any length.
    pub fn new(secret: &[u8; 32]) -> Result<Self, NotAReceipt> {
        Hmac::new_from_slice(secret).map(Self).map_err(|_| NotAReceipt)
    }

    /// Returns the authentication code of a position, as the 64-bit integer that the sink stores with the position.
    #[must_use]
    pub fn mac(&self, position: &ItemPosition) -> i64 {
        let mut mac = self.0.clone();
        mac.update(&position_bytes(position));
        let digest = mac.finalize().into_bytes();
        digest.first_chunk::<MAC_BYTES>().map_or(0, |chunk| i64::from_be_bytes(*chunk))
    }

    /// Returns the receipt of a position.
    #[must_use]
    pub fn issue(&self, position: &ItemPosition) -> String {
        let mut word = Vec::with_capacity(POSITION_BYTES + MAC_BYTES);
        word.extend_from_slice(&position_bytes(position));
        word.extend_from_slice(&self.mac(position).to_be_bytes());
        URL_SAFE_NO_PAD.encode(word)
    }

    /// Returns the position of a receipt.
    ///
    /// # Errors
    /// [`NotAReceipt`] when the word does not have the form of a receipt or was not issued with this key.
    pub fn read(&self, word: &str) -> Result<ItemPosition, NotAReceipt> {
        let bytes = URL_SAFE_NO_PAD.decode(word.trim()).map_err(|_| NotAReceipt)?;
        let (head, tag) = bytes.split_at_checked(POSITION_BYTES).ok_or(NotAReceipt)?;
        if tag.len() != MAC_BYTES {
            return Err(NotAReceipt);
        }
        let mut mac = self.0.clone();
        mac.update(head);
        mac.verify_truncated_left(tag).map_err(|_| NotAReceipt)?;
        parse_position(head).ok_or(NotAReceipt)
    }
}

fn position_bytes(position: &ItemPosition) -> [u8; POSITION_BYTES] {
    let mut bytes = [0; POSITION_BYTES];
    let parts = [position.topic.code()]
        .into_iter()
        .chain(position.topic_epoch.to_be_bytes())
        .chain(position.partition.to_be_bytes())
        .chain(position.offset.to_be_bytes())
        .chain(position.item.to_be_bytes());
    for (to, from) in bytes.iter_mut().zip(parts) {
        *to = from;
    }
    bytes
}

fn parse_position(bytes: &[u8]) -> Option<ItemPosition> {
    let (topic, rest) = bytes.split_first()?;
    let (epoch, rest) = rest.split_first_chunk::<2>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (item, _) = rest.split_first_chunk::<4>()?;
    Some(ItemPosition {
        topic: RawTopic::from_code(*topic)?,
        topic_epoch: u16::from_be_bytes(*epoch),
        partition: i32::from_be_bytes(*partition),
        offset: i64::from_be_bytes(*offset),
        item: u32::from_be_bytes(*item),
    })
}
