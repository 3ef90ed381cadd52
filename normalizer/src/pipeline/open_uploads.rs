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

#[cfg(test)]
mod tests {
    use rdkafka::{Timestamp, message::OwnedMessage};
    use schemas::{
        format::RawTopic,
        upload::{Upload, UploadPart},
    };

    use super::*;
    use crate::pipeline::event::tests::upload;

    const PARTITION: RawPartition = (RawTopic::Uploads, 1);

    /// A record of an upload.
    fn part(id: u128, offset: i64, part: UploadPart) -> Consumed {
        let mut record = upload().1;
        record.headers.as_mut().unwrap().upload = Some(Upload::new(Uuid::from_u128(id), part));
        let time = Timestamp::CreateTime(1_000 + offset);
        record.message = OwnedMessage::new(None, None, String::new(), time, PARTITION.1, offset, None);
        record
    }

    fn chunk(id: u128, offset: i64, number: u32) -> Consumed {
        part(id, offset, UploadPart::Chunk { number })
    }

    fn manifest(id: u128, offset: i64, first: i64) -> Consumed {
        part(id, offset, UploadPart::Manifest { chunks: 2, bytes: 3, first })
    }

    #[test]
    fn the_earliest_open_upload_holds_the_position_until_its_manifest() {
        let mut uploads = OpenUploads::default();
        assert!(uploads.is_empty());
        uploads.update(&[chunk(1, 4, 0), chunk(2, 5, 0), chunk(1, 6, 1)]);
        assert!(!uploads.is_empty());
        assert_eq!(uploads.earliest_offset(PARTITION), Some(4));
        assert_eq!(uploads.earliest_offset((RawTopic::Uploads, 0)), None);
        let times = |uploads: &OpenUploads| {
            let partition = &uploads.0[&PARTITION];
            let mut last: Vec<i64> = partition.open.values().map(|open| open.last_ms).collect();
            last.sort_unstable();
            (partition.read_until_ms, last)
        };
        assert_eq!(times(&uploads), (1_006, vec![1_005, 1_006]));
        uploads.update(&[manifest(1, 7, 4)]);
        assert_eq!((uploads.earliest_offset(PARTITION), times(&uploads)), (Some(5), (1_007, vec![1_005])));
        uploads.update(&[manifest(2, 8, 5)]);
        assert_eq!((uploads.earliest_offset(PARTITION), uploads.is_empty()), (None, true));
    }

    #[test]
    fn the_uploads_of_a_revoked_partition_are_dropped() {
        let mut uploads = OpenUploads::default();
        uploads.update(&[chunk(1, 4, 0)]);
        uploads.retain_partitions(|raw_partition| raw_partition == PARTITION);
        assert!(!uploads.is_empty());
        uploads.retain_partitions(|raw_partition| raw_partition != PARTITION);
        assert!(uploads.is_empty());
    }
}
