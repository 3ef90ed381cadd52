//! Keeping a body: the one step between a request and its answer that matters.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use schemas::{
    content::ContentHash,
    event::SourceName,
    format::RawTopic,
    raw::{Headers, Kind},
    receipt::Position,
};

use crate::{
    admission,
    exchange::CorrelationId,
    keys::Credential,
    raw_log::{Acknowledgement, Appended, Place, RawAppend},
    refusal::Refusal,
    state::Shared,
    wellformed::Malformed,
};

/// How much longer than librdkafka's own limit a request waits for its answer.
const GRACE: Duration = Duration::from_secs(1);

/// A body with everything that is known about it.
pub(crate) struct Kept<'a> {
    pub(crate) topic: RawTopic,
    pub(crate) place: Place<'a>,
    pub(crate) headers: Headers,
    pub(crate) body: &'a Bytes,
}

/// The headers that every record has.
pub(crate) fn headers(
    kind: Kind,
    request: &axum::http::HeaderMap,
    credential: &Credential,
    correlation_id: &CorrelationId,
    hash: &ContentHash,
) -> Headers {
    Headers {
        kind,
        content_type: admission::content_type(request).map(str::to_owned),
        credential: credential.id.clone(),
        source: SourceName::clone(&credential.source),
        subject: None,
        correlation_id: correlation_id.as_str().to_owned(),
        traceparent: admission::traceparent(request).map(str::to_owned),
        content_hmac: hash.to_hex(),
        sample_type: None,
        unit: None,
        device_id: None,
        defaults: None,
        providers: Vec::new(),
        upload: None,
        key_id: None,
    }
}

/// The partition of a payload: that of its first try, so that a client's retry lands beside it.
pub(crate) fn partition(shared: &Shared, topic: RawTopic, hash: &ContentHash) -> Result<Place<'static>, Refusal> {
    let count = shared.log.partitions(topic).ok_or(Refusal::Unavailable)?;
    Ok(Place::Partition(hash.partition(count)))
}

/// Appends the body and waits, within a bound, until Kafka has acknowledged it.
pub(crate) async fn keep(shared: &Shared, kept: &Kept<'_>) -> Result<Position, Refusal> {
    let record = RawAppend { topic: kept.topic, place: kept.place, headers: &kept.headers, body: kept.body };
    let acknowledgement = shared.log.append(&record).map_err(|_| Refusal::Unavailable)?;
    let Appended { partition, offset } = acknowledged(shared, acknowledgement).await?;
    Ok(Position { topic: kept.topic, topic_epoch: shared.topic_epoch, partition, offset, item: 0 })
}

/// Waits, within a bound, until Kafka has acknowledged a record.
pub(crate) async fn acknowledged(shared: &Shared, acknowledgement: Acknowledgement) -> Result<Appended, Refusal> {
    let started = Instant::now();
    let answered = tokio::time::timeout(shared.produce_timeout + GRACE, acknowledgement).await;
    shared.meters.produce_seconds.record(started.elapsed());
    match answered {
        Ok(Ok(Ok(appended))) => Ok(appended),
        // Not acknowledged, the producer went away, or it took too long.
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(Refusal::Unavailable),
    }
}

/// The refusal of a payload that is kept but of which nothing can be made.
pub(crate) fn malformed(shared: &Shared, position: &Position, why: Malformed) -> Refusal {
    Refusal::Malformed(why, shared.receipt_key.issue(position))
}
