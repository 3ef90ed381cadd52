//! Reads the chunks of one upload again from Kafka, as one byte stream.

use std::{
    io::{self, BufRead, Read},
    time::Duration,
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{Headers as _, OwnedMessage},
    types::RDKafkaErrorCode,
};
use schemas::{
    content::ContentHasher,
    raw::header,
    upload::{self, Upload},
};
use service::{capped::read_buffered, kafka::GroupProtocol};
use uuid::Uuid;

use super::{
    config::{NormalizerConfig, group_of},
    error::NormalizerError,
    record::{Consumed, upload_of},
};

/// How long to wait for the next chunk from Kafka before reading the upload fails; it is then read again from the start.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);

/// Whether the chunks that were read are those that the manifest describes.
pub(super) enum ManifestCheck {
    Matches,
    Differs,
}

/// The chunks of one upload, as a reader.
pub(super) struct Chunks {
    consumer: BaseConsumer,
    id: Uuid,
    /// The offset of the manifest. All chunks of the upload are before it.
    end: i64,
    expected: upload::UploadPart,
    hash_expected: String,
    message: Option<OwnedMessage>,
    at: usize,
    number: u32,
    bytes: u64,
    hasher: ContentHasher,
    failed: Option<NormalizerError>,
}

impl Chunks {
    pub(super) fn open(config: &NormalizerConfig, manifest: &Consumed) -> Result<Self, NormalizerError> {
        let (id, expected, first) = match upload_of(manifest).map(|upload| (upload.id(), upload.part())) {
            Some((id, part @ upload::UploadPart::Manifest { first, .. })) => (id, part, first),
            Some((id, part @ upload::UploadPart::Chunk { .. })) => (id, part, manifest.message.offset()),
            None => (Uuid::nil(), upload::UploadPart::Chunk { number: 0 }, manifest.message.offset()),
        };
        let mut settings = config.kafka.consumer(&group_of(&config.group, manifest.topic), GroupProtocol::Classic);
        // The partition is assigned directly, so the consumer does not join the group.
        settings.set("queued.max.messages.kbytes", "1024");
        let consumer: BaseConsumer = settings.create()?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(manifest.message.topic(), manifest.message.partition(), Offset::Offset(first))?;
        consumer.assign(&from)?;
        Ok(Self {
            consumer,
            id,
            end: manifest.message.offset(),
            expected,
            hash_expected: manifest.headers.as_ref().map(|headers| headers.content_hmac.clone()).unwrap_or_default(),
            message: None,
            at: 0,
            number: 0,
            bytes: 0,
            hasher: config.content_key.hasher(),
            failed: None,
        })
    }

    /// Fetches the next chunk. Returns `false` after the last one.
    fn fetch_next(&mut self) -> Result<bool, NormalizerError> {
        if matches!(self.expected, upload::UploadPart::Manifest { chunks, .. } if chunks == self.number) {
            return Ok(false);
        }
        loop {
            let message = match self.consumer.poll(CHUNK_WITHIN) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(error.into()),
                None => {
                    return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into());
                }
            };
            if message.offset() >= self.end {
                return Ok(false);
            }
            let header =
                message.headers().and_then(|headers| headers.iter().find(|header| header.key == header::UPLOAD));
            let text = header.and_then(|header| header.value).and_then(|value| std::str::from_utf8(value).ok());
            let is_next = text.and_then(Upload::parse).is_some_and(|upload| {
                upload.id() == self.id && upload.part() == upload::UploadPart::Chunk { number: self.number }
            });
            if is_next {
                let payload = message.payload().unwrap_or_default();
                self.bytes += payload.len() as u64;
                self.hasher.update(payload);
                self.number += 1;
                self.message = Some(message.detach());
                self.at = 0;
                return Ok(true);
            }
        }
    }

    /// Reads the chunks that the mapping did not read, and compares count, size and hash with the manifest.
    pub(super) fn finish(mut self) -> Result<ManifestCheck, NormalizerError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        while self.fetch_next()? {}
        let found = self.hasher.finish().to_hex();
        let is_as_described = matches!(self.expected, upload::UploadPart::Manifest { chunks, bytes, .. }
            if chunks == self.number && bytes == self.bytes && found == self.hash_expected);
        Ok(if is_as_described { ManifestCheck::Matches } else { ManifestCheck::Differs })
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let length = self.message.as_ref().and_then(Message::payload).map_or(0, <[u8]>::len);
        if self.at >= length {
            self.message = None;
            self.at = 0;
            if let Err(error) = self.fetch_next() {
                self.failed = Some(error);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        let payload = self.message.as_ref().and_then(Message::payload).unwrap_or_default();
        Ok(payload.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}
