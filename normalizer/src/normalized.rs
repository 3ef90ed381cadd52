//! What a raw record comes to.

use std::borrow::Cow;

use schemas::{
    event::{Assignment, Document, Reading, Unknown},
    rejection::Reason,
};
use uuid::Uuid;

use crate::refusal::{Refused, RefusedItem};

/// Raised whenever a golden output changes, so that a replay knows which rows are older. A test sees to it.
pub const MAPPING_VERSION: i32 = 1;

/// What one raw record comes to: each item is one reading, one command or one rejection.
#[derive(Default)]
pub struct Normalized {
    /// The readings, in the order of the payload.
    pub readings: Vec<Reading>,
    /// The device command.
    pub commands: Vec<Assignment>,
    /// The documents that readings cite.
    pub documents: Vec<Document>,
    /// What was refused.
    pub rejections: Vec<Rejection>,
    /// The shapes of what the mapping does not know, each once, and no more than 32.
    pub unknown: Vec<Unknown>,
}

impl Normalized {
    /// How many items the payload held; a payload that is refused as a whole counts as one.
    #[must_use]
    pub fn items(&self) -> usize {
        self.readings.len() + self.commands.len() + self.refused()
    }

    /// How many items were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.rejections.iter().map(|rejection| rejection.item_count as usize).sum()
    }
}

impl From<Rejection> for Normalized {
    fn from(rejection: Rejection) -> Self {
        Self { rejections: vec![rejection], ..Self::default() }
    }
}

/// A refused payload, a refused item, or several items in a row of one device that were refused for the same reason.
pub struct Rejection {
    /// Its place in the payload, of several the first one's; none where the whole payload is refused.
    pub item: Option<u32>,
    /// How many items it is about: 1, also where that is the whole payload.
    pub item_count: u32,
    /// Why.
    pub reason: Reason,
    /// What exactly is wrong, in this project's words: never a value of the payload, nor a name that the sender invented.
    pub detail: Cow<'static, str>,
    /// The `_id` of the device that the items name, where the format names one.
    pub device: Option<Uuid>,
    /// The item's bytes; empty where it is about more than one item, which the raw record keeps.
    pub bytes: Vec<u8>,
}

impl Rejection {
    /// Of the payload as a whole.
    pub(crate) fn whole(refused: Refused) -> Self {
        let Refused { reason, detail } = refused;
        Self { item: None, item_count: 1, reason, detail, device: None, bytes: Vec::new() }
    }

    /// Adds a refused item. Items in a row of one device that are refused for the same reason are one rejection, without their
    /// bytes: a body of a few kilobytes may hold a hundred thousand of them.
    pub(crate) fn add(rejections: &mut Vec<Self>, item: u32, refused: RefusedItem, bytes: impl FnOnce() -> Vec<u8>) {
        let RefusedItem { why: Refused { reason, detail }, device } = refused;
        if let Some(last) = rejections.last_mut()
            && last.item.is_some_and(|first| first.saturating_add(last.item_count) == item)
            && (last.reason, &last.detail, last.device) == (reason, &detail, device)
        {
            last.item_count += 1;
            last.bytes = Vec::new();
            return;
        }
        rejections.push(Self { item: Some(item), item_count: 1, reason, detail, device, bytes: bytes() });
    }

    /// The same for what was refused already.
    pub(crate) fn add_to(self, rejections: &mut Vec<Self>) {
        match self.item {
            Some(item) => {
                let refused = Refused { reason: self.reason, detail: self.detail }.of(self.device);
                Self::add(rejections, item, refused, || self.bytes);
            }
            None => rejections.push(self),
        }
    }
}
