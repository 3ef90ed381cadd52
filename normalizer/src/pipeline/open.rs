//! Open uploads: those with a first chunk and no manifest yet.

use std::collections::HashMap;

use rdkafka::Message;
use schemas::upload;
use uuid::Uuid;

use super::record::{Consumed, RawPartition, upload_of};

/// The uploads whose manifest has not been read yet, by partition.
#[derive(Default)]
pub(super) struct Open(pub(super) HashMap<RawPartition, Uploads>);

/// The open uploads of a partition.
#[derive(Default)]
pub(super) struct Uploads {
    pub(super) unclosed: HashMap<Uuid, Unclosed>,
    /// When the last record that was read was appended, in milliseconds since the epoch.
    pub(super) read_until_ms: i64,
}

/// An upload without its manifest.
pub(super) struct Unclosed {
    /// The first chunk, without its body.
    pub(super) first: Consumed,
    /// When the last chunk was appended, in milliseconds since the epoch.
    pub(super) last_ms: i64,
}

impl Open {
    /// Updates the open uploads from the chunks of a batch and from the manifests, which close their uploads.
    pub(super) fn follow(&mut self, batch: &[Consumed]) {
        for record in batch {
            let place = (record.topic, record.message.partition());
            let appended_ms = record.message.timestamp().to_millis().unwrap_or(0);
            let Some(upload) = upload_of(record) else {
                if let Some(uploads) = self.0.get_mut(&place) {
                    uploads.read_until_ms = appended_ms;
                }
                continue;
            };
            let uploads = self.0.entry(place).or_default();
            uploads.read_until_ms = appended_ms;
            match upload.part() {
                upload::UploadPart::Chunk { number: 0 } => {
                    let unclosed = Unclosed { first: record.without_body(), last_ms: appended_ms };
                    uploads.unclosed.insert(upload.id(), unclosed);
                }
                upload::UploadPart::Chunk { .. } => {
                    if let Some(unclosed) = uploads.unclosed.get_mut(&upload.id()) {
                        unclosed.last_ms = appended_ms;
                    }
                }
                upload::UploadPart::Manifest { .. } => {
                    uploads.unclosed.remove(&upload.id());
                }
            }
        }
        self.forget_ended();
    }

    /// Removes the partitions that this consumer no longer owns.
    pub(super) fn keep_only(&mut self, is_owned: impl Fn(RawPartition) -> bool) {
        self.0.retain(|place, _| is_owned(*place));
    }

    /// The offset of the first chunk of the earliest open upload of a partition. The committed offset must not be after it.
    pub(super) fn earliest(&self, place: RawPartition) -> Option<i64> {
        self.0.get(&place)?.unclosed.values().map(|unclosed| unclosed.first.message.offset()).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the partitions without open uploads.
    pub(super) fn forget_ended(&mut self) {
        self.0.retain(|_, uploads| !uploads.unclosed.is_empty());
    }
}
