//! Properties that must hold for every body, in each format. A fuzz target calls [`check`] with its format.

#[path = "../../normalizer/tests/memory/counting.rs"]
mod counting;
// The module is included alone: the whole ingress takes minutes to build.
#[expect(dead_code, reason = "the ingress uses the rest for device commands and uploads")]
#[path = "../../ingress/src/wellformed/mod.rs"]
mod wellformed;

use std::collections::HashSet;

use counting::{bound, peak};
use normalizer::{Normalized, json_lines, normalize};
use catalogue::metric_by_key;
use schemas::{event::SourceName, format::{Format, Provider}, raw::{Headers, RawRecord, RecordKind}};
use serde::de::IgnoredAny;
use wellformed::Malformed;

/// Normalizes a body and asserts what must hold for every body: the memory stays within its bound, each item has one outcome, the
/// same body gives the same events, and a body that the ingress calls malformed is refused.
pub fn check(provider: Provider, format: Format, body: &[u8]) {
    // The catalogue is loaded once in a process, which must not be counted for the body.
    assert!(metric_by_key("heart_rate").is_some());
    let (found, bytes) = peak(|| normalized(provider, format, body));
    assert!(bytes <= bound(body.len()), "{bytes} bytes of memory for a body of {}", body.len());
    accounted(&found);
    assert_eq!(events(&found), events(&normalized(provider, format, body)), "one body has two results");
    // Half of a surrogate pair makes the normalizer refuse only the item that reads it, as a golden case shows.
    let has_half_pair = || !format.is_xml() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if let Err(malformed) = wellformed::payload(provider, format, body)
        && !(matches!(malformed, Malformed::Json { .. }) && has_half_pair())
    {
        let refused = found.rejections.iter().any(|rejection| rejection.item.is_none());
        assert!(refused, "the ingress refuses it: {malformed}");
        // The items of an export before the error are mapped.
        assert!(
            found.readings.is_empty() || format == Format::ExportXml,
            "readings, but the ingress refuses it: {malformed}"
        );
    }
}

/// Checks a body as the ingress does, for every format. Asserts that the memory stays within its bound, and that the check and
/// `serde_json` agree on which bodies are JSON.
pub fn check_wellformed(body: &[u8]) {
    for &provider in Provider::ALL {
        for format in provider.formats() {
            let (found, bytes) = peak(|| wellformed::payload(provider, *format, body));
            assert!(bytes <= bound(body.len()), "{bytes} bytes of memory for a body of {}", body.len());
            assert_eq!(found, wellformed::payload(provider, *format, body), "one body has two results");
            if format.is_xml() || matches!(found, Err(Malformed::TooDeep | Malformed::TooManyItems)) {
                continue;
            }
            match serde_json::from_slice::<serde_json::Value>(body) {
                // A number that does not fit a double may be JSON nevertheless; serde_json does not parse what follows it.
                Err(error) if error.to_string().starts_with("number out of range") => {}
                // A body that does not have the shape of its format may be JSON nevertheless.
                theirs => {
                    let is_json = matches!(found, Ok(_) | Err(Malformed::WrongType { .. } | Malformed::Missing { .. }));
                    assert_eq!(is_json, theirs.is_ok(), "{found:?}, but serde_json: {:?}", theirs.err());
                }
            }
        }
    }
}

fn accounted(found: &Normalized) {
    let readings = found.readings.iter().map(|reading| i64::from(reading.provenance.item));
    let refused = found.rejections.iter().filter_map(|rejection| Some((rejection.item?, rejection.item_count)));
    let rejections = refused.flat_map(|(first, count)| first..first + count).map(i64::from);
    let mut items = HashSet::new();
    assert!(readings.chain(rejections).all(|item| items.insert(item)), "an item has two outcomes");
    let whole = found.rejections.iter().filter(|rejection| rejection.item.is_none()).count();
    assert!(whole <= 1 && items.len() + whole > 0, "{whole} refusals of the whole body and {} items", items.len());
}

fn events(found: &Normalized) -> Vec<String> {
    json_lines(found).map(|line| line.to_string()).collect()
}

fn normalized(provider: Provider, format: Format, body: &[u8]) -> Normalized {
    let Ok(source) = SourceName::parse("fuzz") else { panic!("the source has no name") };
    let headers = Headers {
        kind: RecordKind::Payload(format),
        content_type: None,
        credential: "key".to_owned(),
        source,
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
    };
    let (topic, received_at) = (provider.raw_topic(format), 1_753_000_000_000_000);
    normalize(&RawRecord { topic, topic_epoch: 1, partition: 0, offset: 0, received_at, headers, body })
}
