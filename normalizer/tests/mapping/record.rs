//! Builds raw records as the loop passes them to the mapping.

use normalizer::{Normalized, normalize};
use schemas::{
    event::SourceName,
    format::RawTopic,
    raw::{Headers, RawRecord, RecordKind},
    rejection::Reason,
};

/// The append time of the records: 2025-07-20T08:26:40Z, in microseconds.
pub(crate) const RECEIVED_AT: i64 = 1_753_000_000_000_000;

/// The headers of a request without parameters.
pub(crate) fn headers(kind: RecordKind, source: &str) -> Headers {
    Headers {
        kind,
        content_type: None,
        credential: "key".to_owned(),
        source: SourceName::parse(source).unwrap(),
        subject: None,
        correlation_id: String::new(),
        traceparent: None,
        content_hmac: String::new(),
        sample_type: None,
        unit: None,
        device_id: None,
        defaults: None,
        providers: Vec::new(),
        upload: None,
        key_id: None,
    }
}

/// The reason of each refused item.
pub(crate) fn reasons(found: &Normalized) -> Vec<Reason> {
    let refused = found.rejections.iter();
    refused.flat_map(|rejection| (0..rejection.item_count).map(|_item| rejection.reason)).collect()
}

/// Normalizes a body at an offset of partition 0.
pub(crate) fn normalized(topic: RawTopic, headers: Headers, body: &[u8], offset: i64) -> Normalized {
    let (topic_epoch, partition, received_at) = (1, 0, RECEIVED_AT + offset);
    normalize(&RawRecord { topic, topic_epoch, partition, offset, received_at, headers, body })
}
