//! What was sent, and what the answers promise.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use schemas::{
    format::RawTopic,
    receipt::{ItemPosition, RawPosition},
};

use super::request::Request;

/// A request that was answered with a receipt: 2xx, or 400 for a body that is stored although it is malformed.
#[derive(Clone)]
pub(crate) struct Obligation {
    pub(crate) request: Arc<Request>,
    pub(crate) position: RawPosition,
}

/// The requests of a run. Contains bodies, so it implements no `Debug`.
#[derive(Default)]
pub(crate) struct SendLog {
    pub(crate) obligations: Vec<Obligation>,
    /// How often each body was sent, by its topic. An attempt without an answer may have been stored.
    pub(crate) attempts: HashMap<(RawTopic, Vec<u8>), u32>,
    /// By device, the positions of its commands in the order in which they were sent. A command is sent after the one before was
    /// answered.
    pub(crate) commands: BTreeMap<String, Vec<RawPosition>>,
    /// Answers that no sender may get.
    pub(crate) complaints: Vec<String>,
}

impl SendLog {
    pub(crate) fn count_attempt(&mut self, request: &Request) {
        // The bytes are copied for the first attempt only.
        let key = (request.topic, request.body.clone());
        *self.attempts.entry(key).or_default() += 1;
    }

    /// Adds an obligation. The receipts of an array name its items in order.
    pub(crate) fn add(&mut self, request: &Arc<Request>, device: Option<&str>, receipts: &[ItemPosition]) {
        let Some(first) = receipts.first() else {
            // An empty array has no items, and its sender no receipt.
            return;
        };
        let position = raw_position(first);
        let is_numbered =
            (0..).zip(receipts).all(|(item, receipt)| receipt.item == item && raw_position(receipt) == position);
        if !is_numbered || position.topic != request.topic {
            self.complaints.push(format!("the receipts of the record {position} do not name its items in order"));
        }
        if let Some(device) = device {
            self.commands.entry(device.to_owned()).or_default().push(position);
        }
        self.obligations.push(Obligation { request: Arc::clone(request), position });
    }
}

fn raw_position(receipt: &ItemPosition) -> RawPosition {
    RawPosition {
        topic: receipt.topic,
        topic_epoch: i32::from(receipt.topic_epoch),
        partition: receipt.partition,
        offset: receipt.offset,
    }
}
