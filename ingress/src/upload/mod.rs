//! Receives a body that may be several gigabytes: appends it in chunks while it is received, and then appends a manifest. A
//! body that fits into one chunk is appended as one record like any other body.
//!
//! Three tasks run concurrently with backpressure: one reads the request's frames, a blocking thread splits and checks them,
//! and one appends the chunks. Their memory use does not depend on the size of the body.

pub(crate) mod capacity;
mod split;

use std::collections::VecDeque;

use axum::{
    body::{Body, Bytes},
    http::HeaderMap,
};
use http_body_util::BodyExt;
use schemas::{
    content::ContentHash,
    format::RawTopic,
    raw::Headers,
    receipt::ItemPosition,
    upload::{Upload, UploadPart},
};
use service::http::{body, coding::Coding};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

use crate::{
    accept,
    raw_log::{Acknowledgement, AppendError, Appended, Destination, RawAppend},
    refusal::Refusal,
    state::Shared,
};
use capacity::{UploadCapacity, UploadLimits};
use split::{Chunk, ChunkOutput, ReadError, Whole};

/// The capacity of the channel of frames to the blocking thread.
const FRAMES_WAITING: usize = 4;
/// How many chunks wait for Kafka's acknowledgement at once.
const CHUNKS_IN_FLIGHT: usize = 3;
/// How many bytes of an upload must arrive within its stall limit. Without that, a client that sends single bytes could occupy
/// a slot for an hour.
const PIECE_BYTES: usize = 64 * 1024;

/// Receives and stores a body. Returns the position of its only record or of its manifest.
pub(crate) async fn receive(
    shared: &Shared,
    request: &HeaderMap,
    topic: RawTopic,
    headers: Headers,
    body: Body,
) -> Result<ItemPosition, Refusal> {
    let UploadCapacity { slots, limits } = &shared.uploads;
    let admission = match Coding::of(request) {
        Some(_) if body::content_length_exceeds(request, limits.bytes_max) => Err(too_large(limits)),
        Some(coding) => match tokio::time::timeout(shared.produce_timeout, slots.acquire()).await {
            Ok(Ok(slot)) => Ok((coding, slot)),
            Ok(Err(_)) | Err(_) => Err(Refusal::Unavailable),
        },
        None => Err(Refusal::ContentCoding),
    };
    let ((coding, _slot), body) = body::discard_if_refused(admission, request, body).await?;
    let (frames, from_request) = mpsc::channel(FRAMES_WAITING);
    let (chunks, to_kafka) = mpsc::channel(1);
    let bytes_max = limits.bytes_max;
    let output = ChunkOutput { chunks, key: shared.content_key.clone() };
    let splitting = tokio::task::spawn_blocking(move || split::split(coding, from_request, &output, bytes_max));
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let log = UploadLog { shared, topic, headers: &headers, id };
    let (frames_sent, chunks, whole) =
        tokio::join!(send_frames(body, frames, limits), log.append_chunks(to_kafka), splitting);
    frames_sent?;
    let chunks = chunks?;
    let (position, checked) = match whole {
        Ok(Ok(Whole { only: Some(body), hash, checked, .. })) => {
            let headers = Headers { content_hmac: hash.to_hex(), ..headers };
            let destination = accept::partition(shared, topic, &hash)?;
            let record = RawAppend { topic, destination, headers: &headers, body: &body };
            (accept::append(shared, &record).await?, checked)
        }
        Ok(Ok(Whole { only: None, bytes, hash, checked })) => {
            (log.append_manifest(chunks, bytes, hash).await?, checked)
        }
        Ok(Err(ReadError::TooLarge)) => return Err(too_large(limits)),
        Ok(Err(ReadError::Disconnected)) => return Err(Refusal::BodyIncomplete),
        Ok(Err(ReadError::ReceiverDropped)) | Err(_) => return Err(Refusal::Unavailable),
    };
    checked.map_err(|why| accept::malformed(shared, &position, why))?;
    Ok(position)
}

fn too_large(limits: &UploadLimits) -> Refusal {
    Refusal::TooLarge(usize::try_from(limits.bytes_max).unwrap_or(usize::MAX))
}

/// Reads the frames of the body as fast as the blocking thread consumes them.
async fn send_frames(
    mut body: Body,
    frames: mpsc::Sender<Option<Bytes>>,
    limits: &UploadLimits,
) -> Result<(), Refusal> {
    let whole = async {
        let (mut deadline, mut piece_bytes) = (Instant::now() + limits.stall_max, 0);
        loop {
            let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(Refusal::BodyTimeout),
                Ok(None) => None,
                Ok(Some(Err(_))) => return Err(Refusal::BodyIncomplete),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Some(data),
                    Err(_trailers) => continue,
                },
            };
            let is_last = frame.is_none();
            piece_bytes += frame.as_ref().map_or(0, Bytes::len);
            let received = Instant::now();
            if frames.send(frame).await.is_err() {
                // The blocking thread has stopped, and its reason becomes the refusal. The body is drained so that the client
                // receives the response.
                body::drain(body).await;
                return Ok(());
            }
            if is_last {
                return Ok(());
            }
            // The time spent waiting for Kafka does not count against the client.
            deadline += received.elapsed();
            if piece_bytes >= PIECE_BYTES {
                (deadline, piece_bytes) = (Instant::now() + limits.stall_max, 0);
            }
        }
    };
    tokio::time::timeout(limits.time_max, whole).await.unwrap_or(Err(Refusal::BodyTimeout))
}

/// An upload on its raw topic.
struct UploadLog<'s> {
    shared: &'s Shared,
    topic: RawTopic,
    headers: &'s Headers,
    id: Uuid,
}

/// The chunks that Kafka has acknowledged.
#[derive(Default)]
struct Acknowledged {
    count: u32,
    first: Option<Appended>,
}

impl UploadLog<'_> {
    /// Appends all chunks, a few at a time.
    async fn append_chunks(&self, mut chunks: mpsc::Receiver<Chunk>) -> Result<Acknowledged, Refusal> {
        let mut acknowledged = Acknowledged::default();
        let mut in_flight = VecDeque::with_capacity(CHUNKS_IN_FLIGHT);
        let (mut number, mut destination) = (0_u32, None);
        while let Some(chunk) = chunks.recv().await {
            // The hash of the first chunk selects the partition of the whole upload, so a retry goes to the same partition.
            let destination = match destination {
                Some(destination) => destination,
                None => *destination.insert(accept::partition(self.shared, self.topic, &chunk.hash)?),
            };
            let headers = Headers {
                content_hmac: chunk.hash.to_hex(),
                upload: Some(Upload::new(self.id, UploadPart::Chunk { number })),
                ..self.headers.clone()
            };
            let record = RawAppend { topic: self.topic, destination, headers: &headers, body: &chunk.bytes };
            let acknowledgement = loop {
                match (self.shared.log.append(&record), in_flight.front()) {
                    (Ok(acknowledgement), _) => break acknowledgement,
                    (Err(AppendError::QueueFull), Some(_)) => {
                        self.await_first(&mut in_flight, &mut acknowledged).await?;
                    }
                    (Err(AppendError::QueueFull | AppendError::NotAcknowledged(_)), _) => {
                        return Err(Refusal::Unavailable);
                    }
                }
            };
            number += 1;
            in_flight.push_back(acknowledgement);
            if in_flight.len() >= CHUNKS_IN_FLIGHT {
                self.await_first(&mut in_flight, &mut acknowledged).await?;
            }
        }
        while !in_flight.is_empty() {
            self.await_first(&mut in_flight, &mut acknowledged).await?;
        }
        Ok(acknowledged)
    }

    async fn await_first(
        &self,
        in_flight: &mut VecDeque<Acknowledgement>,
        acknowledged: &mut Acknowledged,
    ) -> Result<(), Refusal> {
        let Some(acknowledgement) = in_flight.pop_front() else { return Ok(()) };
        let appended = accept::acknowledged(self.shared, acknowledgement).await?;
        acknowledged.first.get_or_insert(appended);
        acknowledged.count += 1;
        Ok(())
    }

    /// Appends the manifest. Only with the manifest does the upload count as received.
    async fn append_manifest(
        &self,
        chunks: Acknowledged,
        bytes: u64,
        hash: ContentHash,
    ) -> Result<ItemPosition, Refusal> {
        let first = chunks.first.ok_or(Refusal::Unavailable)?;
        let part = UploadPart::Manifest { chunks: chunks.count, bytes, first: first.offset };
        let headers =
            Headers { content_hmac: hash.to_hex(), upload: Some(Upload::new(self.id, part)), ..self.headers.clone() };
        let destination = Destination::Partition(first.partition);
        accept::append(self.shared, &RawAppend { topic: self.topic, destination, headers: &headers, body: &[] }).await
    }
}
