//! Counts the shapes of unknown content, in the transaction of the outcomes that report them.

use std::collections::BTreeMap;

use schemas::event::{Outcome, Unknown};
use sqlx::{PgConnection, types::time::OffsetDateTime};
use store::{drift::SHAPES_MAX, topic_code};

use super::moment;

/// A shape, and where it occurs in some outcomes.
struct ShapeOccurrences<'o> {
    provider: &'static str,
    unknown: &'o Unknown,
    /// Receive time, topic, topic epoch, partition and offset; the smallest is the first example.
    first: (OffsetDateTime, i16, i32, i32, i64),
    last_seen: OffsetDateTime,
    count: i64,
}

/// Counts the shapes in outcomes that were not counted before.
pub(super) async fn count_shapes(connection: &mut PgConnection, fresh: &[&Outcome]) -> Result<(), sqlx::Error> {
    let shapes = occurrences_by_shape(fresh);
    if shapes.is_empty() {
        return Ok(());
    }
    // Ordered by key, so that two sinks cannot deadlock.
    sqlx::query!(
"INSERT INTO drift AS d (fingerprint, provider, format, kind, shape, first_seen, last_seen, count, topic_code, \
             topic_epoch, raw_partition, raw_offset) \
         SELECT n.fingerprint, n.provider::provider, n.format::payload_format, n.kind, n.shape, n.first_seen, n.last_seen, \
             n.count, n.topic_code, n.topic_epoch, n.raw_partition, n.raw_offset \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], \
             $8::bigint[], $9::smallint[], $10::integer[], $11::integer[], $12::bigint[]) \
             AS n (fingerprint, provider, format, kind, shape, first_seen, last_seen, count, topic_code, topic_epoch, \
                 raw_partition, raw_offset) \
         WHERE (SELECT count(*) FROM drift) < $13 OR EXISTS (SELECT FROM drift k WHERE k.fingerprint = n.fingerprint) \
         ORDER BY n.fingerprint \
         ON CONFLICT (fingerprint) DO UPDATE SET count = d.count + excluded.count, \
             last_seen = greatest(d.last_seen, excluded.last_seen), \
             (first_seen, topic_code, topic_epoch, raw_partition, raw_offset) = (SELECT * FROM (VALUES \
                 (d.first_seen, d.topic_code, d.topic_epoch, d.raw_partition, d.raw_offset), \
                 (excluded.first_seen, excluded.topic_code, excluded.topic_epoch, excluded.raw_partition, \
                  excluded.raw_offset)) e ORDER BY 1, 2, 3, 4, 5 LIMIT 1)",
shapes.keys().cloned().collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.provider).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.unknown.format.as_str()).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.unknown.kind.as_str()).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.unknown.shape.as_str()).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.first.0).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.last_seen).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.count).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.first.1).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.first.2).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.first.3).collect::<Vec<_>>() as _,
shapes.values().map(|shape| shape.first.4).collect::<Vec<_>>() as _,
SHAPES_MAX as _
)
    .execute(connection)
    .await?;
    Ok(())
}

/// The shapes by fingerprint. Outcomes of device commands have none.
fn occurrences_by_shape<'o>(fresh: &[&'o Outcome]) -> BTreeMap<String, ShapeOccurrences<'o>> {
    let mut all: BTreeMap<String, ShapeOccurrences<'o>> = BTreeMap::new();
    for outcome in fresh {
        let Some(provider) = outcome.topic.provider() else { continue };
        let seen = moment(outcome.received_at);
        let first = (seen, topic_code(outcome.topic), outcome.topic_epoch, outcome.partition, outcome.offset);
        for unknown in &outcome.unknown {
            let provider_name = provider.as_str();
            let shape = all.entry(unknown.fingerprint(provider)).or_insert(ShapeOccurrences {
                provider: provider_name,
                unknown,
                first,
                last_seen: seen,
                count: 0,
            });
            shape.first = shape.first.min(first);
            shape.last_seen = shape.last_seen.max(seen);
            shape.count += 1;
        }
    }
    all
}
