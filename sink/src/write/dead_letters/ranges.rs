//! Ranges of items of raw records.

use std::{collections::BTreeMap, ops::Range};

use schemas::{dead_letter::Stage, receipt::RawPosition};
use sqlx::PgConnection;

/// Consecutive items of a raw record, and the number of the replay that concerns them.
#[derive(Clone)]
pub(super) struct Items {
    pub(super) raw: RawPosition,
    pub(super) items: Range<i64>,
    pub(super) replay: i32,
}

/// Disjoint ranges of items: the end of each range, by its start.
#[derive(Default)]
pub(super) struct ItemRanges(BTreeMap<i64, i64>);

impl ItemRanges {
    /// Adds items. Returns those that were not contained.
    pub(super) fn add(&mut self, items: Range<i64>) -> Vec<Range<i64>> {
        let mut from = items.start;
        let mut new = Vec::new();
        let begun_before = self.0.range(..from).next_back().map(|(_, end)| *end);
        from = from.max(begun_before.unwrap_or(from));
        if from < items.end {
            for (start, end) in self.0.range(from..items.end) {
                if from < *start {
                    new.push(from..*start);
                }
                from = *end;
            }
        }
        if from < items.end {
            new.push(from..items.end);
        }
        self.0.extend(new.iter().map(|items| (items.start, items.end)));
        new
    }
}

/// The rows that [`split`] divides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Divided {
    /// Those whose items may be refused again.
    WithResolved,
    /// Those whose items may be resolved.
    Unresolved,
}

/// Divides the rows of a stage that cover some of these items and others too, and that are of earlier attempts. Afterwards each such row
/// is within the items or apart from them.
pub(super) async fn split(
    connection: &mut PgConnection,
    stage: Stage,
    divided: Divided,
    items: &[Items],
) -> Result<(), sqlx::Error> {
    if items.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "WITH cut AS ( \
             SELECT DISTINCT l.origin_topic, l.topic_epoch, l.origin_partition, l.origin_offset, l.item, p.point, \
                 l.item::bigint + l.item_count AS behind \
             FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[]) \
                 w(topic, epoch, partition, log_offset, first, behind, replay) \
             CROSS JOIN LATERAL (VALUES (w.first), (w.behind)) p(point) \
             JOIN dead_letters l ON l.raw_offset = w.log_offset AND l.raw_partition = w.partition AND l.raw_topic = w.topic \
                 AND l.topic_epoch = w.epoch \
             WHERE l.stage = $8 AND l.item >= 0 AND l.item < p.point AND p.point < l.item::bigint + l.item_count \
                 AND l.replay < w.replay AND ($9 OR l.state <> 'resolved')), \
         parts AS ( \
             SELECT c.*, lead(c.point, 1, c.behind) OVER (PARTITION BY c.origin_topic, c.topic_epoch, c.origin_partition, \
                 c.origin_offset, c.item ORDER BY c.point) AS following \
             FROM cut c), \
         added AS ( \
             INSERT INTO dead_letters (origin_topic, origin_partition, origin_offset, item, item_count, stage, reason, detail, \
                 content_hmac, raw_topic, topic_epoch, raw_partition, raw_offset, origin_at, letter_partition, letter_offset, receipt, \
                 device_key, source, credential, correlation_id, format, provider, attempts, first_attempt_at, last_attempt_at, replay, \
                 state, state_at, state_by, state_reason) \
             SELECT l.origin_topic, l.origin_partition, l.origin_offset, p.point::integer, (p.following - p.point)::integer, l.stage, \
                 l.reason, l.detail, l.content_hmac, l.raw_topic, l.topic_epoch, l.raw_partition, l.raw_offset, l.origin_at, \
                 l.letter_partition, l.letter_offset, l.receipt, l.device_key, l.source, l.credential, l.correlation_id, l.format, \
                 l.provider, l.attempts, l.first_attempt_at, l.last_attempt_at, l.replay, l.state, l.state_at, l.state_by, \
                 l.state_reason \
             FROM parts p JOIN dead_letters l USING (origin_topic, topic_epoch, origin_partition, origin_offset, item) \
             WHERE l.stage = $8) \
         UPDATE dead_letters l SET item_count = (f.point - l.item)::integer \
         FROM (SELECT origin_topic, topic_epoch, origin_partition, origin_offset, item, min(point) AS point FROM cut \
               GROUP BY 1, 2, 3, 4, 5) f \
         WHERE l.origin_topic = f.origin_topic AND l.topic_epoch = f.topic_epoch AND l.origin_partition = f.origin_partition \
             AND l.origin_offset = f.origin_offset AND l.item = f.item AND l.stage = $8",
        items.iter().map(|of| of.raw.topic.as_str()).collect::<Vec<_>>() as _,
        &items.iter().map(|of| of.raw.topic_epoch).collect::<Vec<_>>(),
        &items.iter().map(|of| of.raw.partition).collect::<Vec<_>>(),
        &items.iter().map(|of| of.raw.offset).collect::<Vec<_>>(),
        &items.iter().map(|of| of.items.start).collect::<Vec<_>>(),
        &items.iter().map(|of| of.items.end).collect::<Vec<_>>(),
        &items.iter().map(|of| of.replay).collect::<Vec<_>>(),
        stage.as_str(),
        divided == Divided::WithResolved
    )
    .execute(connection)
    .await?;
    Ok(())
}
