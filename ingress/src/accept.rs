//! Accepts a body: appends it to its raw topic and waits until Kafka has acknowledged it. A request is answered with 2xx only
//! after that.

use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use schemas::{
    content::ContentHash,
    event::SourceName,
    format::RawTopic,
    raw::{Headers, RecordKind},
    receipt::ItemPosition,
};
use service::http::correlation::CorrelationId;

use crate::{
    admission,
    keys::Credential,
    raw_log::{Acknowledgement, Appended, Destination, RawAppend},
    refusal::Refusal,
    state::Shared,
    wellformed::Malformed,
};

/// How much longer than librdkafka's own timeout a request waits for the acknowledgement.
const GRACE: Duration = Duration::from_secs(1);

/// The sender of a body: its credential, the request's headers and the correlation id.
#[derive(Clone, Copy)]
pub(crate) struct Sender<'a> {
    pub(crate) credential: &'a Credential,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) correlation_id: &'a CorrelationId,
}

impl Sender<'_> {
    /// Returns the headers that every raw record has.
    pub(crate) fn record_headers(&self, kind: RecordKind, hash: &ContentHash) -> Headers {
        Headers {
            kind,
            content_type: admission::content_type(self.headers).map(str::to_owned),
            credential: self.credential.id.clone(),
            source: SourceName::clone(&self.credential.source),
            subject: None,
            correlation_id: self.correlation_id.as_str().to_owned(),
            traceparent: admission::traceparent(self.headers).map(str::to_owned),
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
}

/// Returns the partition of a payload. It depends on the content only, so a retry of the same payload goes to the same
/// partition.
pub(crate) fn partition(shared: &Shared, topic: RawTopic, hash: &ContentHash) -> Result<Destination<'static>, Refusal> {
    let count = shared.log.partitions(topic).ok_or(Refusal::Unavailable)?;
    Ok(Destination::Partition(hash.partition(count)))
}

/// Appends a record and waits, within a time limit, until Kafka has acknowledged it.
pub(crate) async fn append(shared: &Shared, record: &RawAppend<'_>) -> Result<ItemPosition, Refusal> {
    #[cfg(feature = "fail-points")]
    service::fail_point::pass("ingress-before-append");
    let acknowledgement = shared.log.append(record).map_err(|_| Refusal::Unavailable)?;
    #[cfg(feature = "planted-bugs")]
    if let Some(position) = planted::early_ack(record, shared.topic_epoch) {
        return Ok(position);
    }
    let Appended { partition, offset } = acknowledged(shared, acknowledgement).await?;
    #[cfg(feature = "planted-bugs")]
    planted::acknowledged(record, partition, offset);
    #[cfg(feature = "fail-points")]
    service::fail_point::pass("ingress-before-answer");
    Ok(ItemPosition { topic: record.topic, topic_epoch: shared.topic_epoch, partition, offset, item: 0 })
}

/// Waits, within a time limit, until Kafka has acknowledged a record.
pub(crate) async fn acknowledged(shared: &Shared, acknowledgement: Acknowledgement) -> Result<Appended, Refusal> {
    let started = Instant::now();
    let answered = tokio::time::timeout(shared.produce_timeout + GRACE, acknowledgement).await;
    shared.meters.produce_seconds.record(started.elapsed());
    match answered {
        Ok(Ok(Ok(appended))) => Ok(appended),
        // The record was not acknowledged, the producer was dropped, or the time limit has passed.
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(Refusal::Unavailable),
    }
}

/// Returns the refusal of a payload that was stored but is malformed.
pub(crate) fn malformed(shared: &Shared, position: &ItemPosition, why: Malformed) -> Refusal {
    Refusal::Malformed(why, shared.receipt_key.issue(position))
}

/// The bug of an early answer, for tests of the oracle: an offset is guessed, because the broker has not assigned it yet.
#[cfg(feature = "planted-bugs")]
mod planted {
    use std::{
        collections::HashMap,
        sync::{LazyLock, Mutex, PoisonError},
    };

    use schemas::{format::RawTopic, receipt::ItemPosition};
    use service::planted_bug::PlantedBug;

    use crate::raw_log::{Destination, RawAppend};

    static NEXT: LazyLock<Mutex<HashMap<(RawTopic, i32), i64>>> = LazyLock::new(Mutex::default);

    pub(super) fn acknowledged(record: &RawAppend<'_>, partition: i32, offset: i64) {
        NEXT.lock().unwrap_or_else(PoisonError::into_inner).insert((record.topic, partition), offset + 1);
    }

    /// The guessed position, if the bug is planted and the offset of an earlier record of the partition is known.
    pub(super) fn early_ack(record: &RawAppend<'_>, topic_epoch: u16) -> Option<ItemPosition> {
        let Destination::Partition(partition) = record.destination else { return None };
        let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
        let next = next.get_mut(&(record.topic, partition)).filter(|_| PlantedBug::EarlyAck.is_planted())?;
        *next += 1;
        Some(ItemPosition { topic: record.topic, topic_epoch, partition, offset: *next - 1, item: 0 })
    }
}
