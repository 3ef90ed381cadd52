//! The result of normalizing a raw record.

use std::borrow::Cow;

use schemas::{
    event::{Assignment, Document, Reading, Unknown},
    rejection::Reason,
};
use uuid::Uuid;

use crate::refusal::{Refused, RefusedItem};

/// The version of the mapping. It must be raised whenever a golden output changes, so that a replay can tell which rows are
/// older. A test checks this.
pub const MAPPING_VERSION: i32 = 1;

/// The result of normalizing one raw record: each item is one reading, one command or one rejection.
#[derive(Default)]
pub struct Normalized {
    /// The readings, in the order of the payload.
    pub readings: Vec<Reading>,
    /// The device command, if the record is one.
    pub commands: Vec<Assignment>,
    /// The documents that readings cite.
    pub documents: Vec<Document>,
    /// The items that were refused, or the refusal of the whole payload.
    pub rejections: Vec<Rejection>,
    /// The shapes of what the mapping does not know, without repetitions, at most 32.
    pub unknown: Vec<Unknown>,
}

impl Normalized {
    /// The number of items in the payload; a payload that is refused as a whole counts as one.
    #[must_use]
    pub fn items(&self) -> usize {
        self.readings.len() + self.commands.len() + self.refused()
    }

    /// The number of refused items.
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

/// A refused payload, a refused item, or several consecutive items of one device that were refused for the same reason.
pub struct Rejection {
    /// The index in the payload of the (first) refused item; `None` if the whole payload is refused.
    pub item: Option<u32>,
    /// The number of refused items; 1 if the whole payload is refused.
    pub item_count: u32,
    /// Why the item was refused.
    pub reason: Reason,
    /// What exactly is wrong, in this project's words. It never contains a value of the payload or a name that the sender
    /// invented.
    pub detail: Cow<'static, str>,
    /// The `_id` of the device that the items name, if the format names devices.
    pub device: Option<Uuid>,
    /// The bytes of the item. Empty if the rejection covers more than one item or the whole payload, whose bytes the raw record
    /// contains.
    pub bytes: Vec<u8>,
}

impl Rejection {
    /// The rejection of a whole payload.
    pub(crate) fn whole(refused: Refused) -> Self {
        let Refused { reason, detail } = refused;
        Self { item: None, item_count: 1, reason, detail, device: None, bytes: Vec::new() }
    }

    /// Adds a refused item. Consecutive items of one device that are refused for the same reason become one rejection, without
    /// their bytes: a body of a few kilobytes may contain a hundred thousand of them.
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

    /// Adds a rejection as [`Self::add`] does, and merges it with the last one where possible.
    pub(crate) fn add_to(self, rejections: &mut Vec<Self>) {
        match self.item {
            Some(item) => {
                let refused = Refused { reason: self.reason, detail: self.detail }.with_device(self.device);
                Self::add(rejections, item, refused, || self.bytes);
            }
            None => rejections.push(self),
        }
    }
}
