//! A body that may be gigabytes: kept chunk by chunk while it comes, and closed by a manifest. What fits one chunk is kept as
//! one record like any other body.
//!
//! Three things go on at once, each waiting for the next: the request's frames are taken in, a thread cuts and looks through
//! them, and the chunks are appended. Nothing of it grows with the body.

mod split;

use std::{collections::VecDeque, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::HeaderMap,
};
use http_body_util::BodyExt;
use schemas::{
    content::ContentHash,
    format::RawTopic,
    raw::Headers,
    receipt::Position,
    upload::{Part, Upload},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    body,
    keep::{self, Kept},
    raw_log::{Acknowledgement, AppendError, Appended, Place, RawAppend},
    refusal::Refusal,
    state::Shared,
    wellformed::Malformed,
};
use split::{Broken, Chunk, Whole};

/// How many frames wait for the thread that looks through them.
const FRAMES_WAITING: usize = 4;
/// How many chunks are with Kafka at once.
const CHUNKS_IN_FLIGHT: usize = 3;
/// How much of an upload must come within its stall limit: who sends a byte now and then would hold a slot for an hour.
const PIECE_BYTES: usize = 64 * 1024;

/// What uploads share: each takes some megabytes, so that only so many go on at once.
pub(crate) struct Uploads {
    pub(crate) slots: Semaphore,
    pub(crate) limits: Limits,
}

/// The caps of one upload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes_max: u64,
    /// For the whole body.
    pub(crate) time_max: Duration,
    /// For each [`PIECE_BYTES`] of it, and for its rest.
    pub(crate) stall_max: Duration,
}

/// Keeps a body. The position is that of its one record or of its manifest; beside it, whether it is well-formed.
pub(crate) async fn receive(
    shared: &Shared,
    request: &HeaderMap,
    topic: RawTopic,
    headers: Headers,
    body: Body,
) -> Result<(Position, Result<(), Malformed>), Refusal> {
    let Uploads { slots, limits } = &shared.uploads;
    let decided = match body::coding(request) {
        Ok(_) if body::announces_more(request, limits.bytes_max) => Err(too_large(limits)),
        Ok(coding) => match tokio::time::timeout(shared.produce_timeout, slots.acquire()).await {
            Ok(Ok(slot)) => Ok((coding, slot)),
            Ok(Err(_)) | Err(_) => Err(Refusal::Unavailable),
        },
        Err(refusal) => Err(refusal),
    };
    let ((coding, _slot), body) = body::admitted(decided, request, body).await?;
    let (frames, from_request) = mpsc::channel(FRAMES_WAITING);
    let (chunks, to_kafka) = mpsc::channel(1);
    let bytes_max = limits.bytes_max;
    let content_key = shared.content_key.clone();
    let splitting =
        tokio::task::spawn_blocking(move || split::split(coding, from_request, (chunks, content_key), bytes_max));
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let log = Log { shared, topic, headers: &headers, id };
    let (fed, kept, whole) = tokio::join!(feed(body, frames, limits), log.keep(to_kafka), splitting);
    fed?;
    let kept = kept?;
    match whole {
        Ok(Ok(Whole { only: Some(body), hash, looked, .. })) => {
            let headers = Headers { content_hmac: hash.to_hex(), ..headers };
            let place = keep::partition(shared, topic, &hash)?;
            let kept = Kept { topic, place, headers, body: &body };
            Ok((keep::keep(shared, &kept).await?, looked))
        }
        Ok(Ok(Whole { only: None, bytes, hash, looked })) => Ok((log.close(kept, bytes, hash).await?, looked)),
        Ok(Err(Broken::TooLarge)) => Err(too_large(limits)),
        Ok(Err(Broken::Off)) => Err(Refusal::BodyBrokenOff),
        Ok(Err(Broken::NotKept)) | Err(_) => Err(Refusal::Unavailable),
    }
}

fn too_large(limits: &Limits) -> Refusal {
    Refusal::TooLarge(usize::try_from(limits.bytes_max).unwrap_or(usize::MAX))
}

/// Takes the frames in as fast as they are looked through.
async fn feed(mut body: Body, frames: mpsc::Sender<Option<Bytes>>, limits: &Limits) -> Result<(), Refusal> {
    let whole = async {
        let (mut deadline, mut piece_bytes) = (Instant::now() + limits.stall_max, 0);
        loop {
            let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(Refusal::BodyTimeout),
                Ok(None) => None,
                Ok(Some(Err(_))) => return Err(Refusal::BodyBrokenOff),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Some(data),
                    Err(_trailers) => continue,
                },
            };
            let is_last = frame.is_none();
            piece_bytes += frame.as_ref().map_or(0, Bytes::len);
            let received = Instant::now();
            if frames.send(frame).await.is_err() {
                // The upload is refused for another reason: the client gets to see it.
                body::drain(body).await;
                return Ok(());
            }
            if is_last {
                return Ok(());
            }
            // What Kafka takes is not the client's time.
            deadline += received.elapsed();
            if piece_bytes >= PIECE_BYTES {
                (deadline, piece_bytes) = (Instant::now() + limits.stall_max, 0);
            }
        }
    };
    tokio::time::timeout(limits.time_max, whole).await.unwrap_or(Err(Refusal::BodyTimeout))
}

/// One upload on its raw topic.
struct Log<'s> {
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

impl Log<'_> {
    /// Appends chunks until there are no more, some at once.
    async fn keep(&self, mut chunks: mpsc::Receiver<Chunk>) -> Result<Acknowledged, Refusal> {
        let mut kept = Acknowledged::default();
        let mut in_flight = VecDeque::with_capacity(CHUNKS_IN_FLIGHT);
        let (mut number, mut place) = (0_u32, None);
        while let Some(chunk) = chunks.recv().await {
            // All of the upload lies where its first chunk belongs, and so does a retry of it.
            let place = match place {
                Some(decided) => decided,
                None => *place.insert(keep::partition(self.shared, self.topic, &chunk.hash)?),
            };
            let headers = Headers {
                content_hmac: chunk.hash.to_hex(),
                upload: Some(Upload::new(self.id, Part::Chunk { number })),
                ..self.headers.clone()
            };
            let record = RawAppend { topic: self.topic, place, headers: &headers, body: &chunk.bytes };
            let acknowledgement = loop {
                match (self.shared.log.append(&record), in_flight.front()) {
                    (Ok(acknowledgement), _) => break acknowledgement,
                    (Err(AppendError::QueueFull), Some(_)) => self.settle_first(&mut in_flight, &mut kept).await?,
                    (Err(AppendError::QueueFull | AppendError::NotAcknowledged(_)), _) => {
                        return Err(Refusal::Unavailable);
                    }
                }
            };
            number += 1;
            in_flight.push_back(acknowledgement);
            if in_flight.len() >= CHUNKS_IN_FLIGHT {
                self.settle_first(&mut in_flight, &mut kept).await?;
            }
        }
        while !in_flight.is_empty() {
            self.settle_first(&mut in_flight, &mut kept).await?;
        }
        Ok(kept)
    }

    async fn settle_first(
        &self,
        in_flight: &mut VecDeque<Acknowledgement>,
        kept: &mut Acknowledged,
    ) -> Result<(), Refusal> {
        let Some(acknowledgement) = in_flight.pop_front() else { return Ok(()) };
        let appended = keep::acknowledged(self.shared, acknowledgement).await?;
        kept.first.get_or_insert(appended);
        kept.count += 1;
        Ok(())
    }

    /// Appends the manifest: from then on the upload counts.
    async fn close(&self, kept: Acknowledged, bytes: u64, hash: ContentHash) -> Result<Position, Refusal> {
        let first = kept.first.ok_or(Refusal::Unavailable)?;
        let part = Part::Manifest { chunks: kept.count, bytes, first: first.offset };
        let headers =
            Headers { content_hmac: hash.to_hex(), upload: Some(Upload::new(self.id, part)), ..self.headers.clone() };
        let body = Bytes::new();
        let place = Place::Partition(first.partition);
        keep::keep(self.shared, &Kept { topic: self.topic, place, headers, body: &body }).await
    }
}
