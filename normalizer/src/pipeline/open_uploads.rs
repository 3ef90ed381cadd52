//! Open uploads: those with a first chunk and no manifest yet.

use std::{collections::HashMap, time::Instant};

use rdkafka::Message;
use schemas::upload;
use uuid::Uuid;

use super::record::{Consumed, RawPartition, upload_of};

/// The uploads whose manifest has not been read yet, by partition.
#[derive(Default)]
pub(super) struct OpenUploads(pub(super) HashMap<RawPartition, PartitionUploads>);

/// The open uploads of a partition.
#[derive(Default)]
pub(super) struct PartitionUploads {
    pub(super) open: HashMap<Uuid, OpenUpload>,
    /// When the last record that was read was appended, in milliseconds since the epoch.
    pub(super) read_until_ms: i64,
}

/// An upload without its manifest.
pub(super) struct OpenUpload {
    /// The first chunk, without its body.
    pub(super) first: Consumed,
    /// When the last chunk was appended, in milliseconds since the epoch, by the broker's clock.
    pub(super) last_ms: i64,
    /// When this process read the last chunk.
    pub(super) last_read: Instant,
}

impl OpenUploads {
    /// Updates the open uploads from the chunks of a batch and from the manifests, which close their uploads.
    pub(super) fn update(&mut self, batch: &[Consumed]) {
        for record in batch {
            let raw_partition = (record.topic, record.message.partition());
            let appended_ms = record.message.timestamp().to_millis().unwrap_or(0);
            let Some(upload) = upload_of(record) else {
                if let Some(uploads) = self.0.get_mut(&raw_partition) {
                    uploads.read_until_ms = appended_ms;
                }
                continue;
            };
            let uploads = self.0.entry(raw_partition).or_default();
            uploads.read_until_ms = appended_ms;
            match upload.part() {
                upload::UploadPart::Chunk { number: 0 } => {
                    let open =
                        OpenUpload { first: record.without_body(), last_ms: appended_ms, last_read: Instant::now() };
                    uploads.open.insert(upload.id(), open);
                }
                upload::UploadPart::Chunk { .. } => {
                    if let Some(open) = uploads.open.get_mut(&upload.id()) {
                        open.last_ms = appended_ms;
                        open.last_read = Instant::now();
                    }
                }
                upload::UploadPart::Manifest { .. } => {
                    uploads.open.remove(&upload.id());
                }
            }
        }
        self.remove_empty();
    }

    /// Removes the partitions that this consumer no longer owns.
    pub(super) fn retain_partitions(&mut self, is_owned: impl Fn(RawPartition) -> bool) {
        self.0.retain(|raw_partition, _| is_owned(*raw_partition));
    }

    /// The offset of the first chunk of the earliest open upload of a partition. The committed offset must not be after it.
    pub(super) fn earliest_offset(&self, raw_partition: RawPartition) -> Option<i64> {
        self.0.get(&raw_partition)?.open.values().map(|open| open.first.message.offset()).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the partitions without open uploads.
    pub(super) fn remove_empty(&mut self) {
        self.0.retain(|_, uploads| !uploads.open.is_empty());
    }
}
