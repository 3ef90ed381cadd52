//! Writes the dead letters of one attempt.

use schemas::{
    dead_letter::{DeadLetter, Stage},
    format::Provider,
};
use sqlx::{PgConnection, types::time::OffsetDateTime};

use super::{
    Listed, by_key, epoch,
    ranges::{Divided, Items, split},
    unlisted,
};
use crate::write::moment;

/// The dead letters of one replay, or of the stages themselves, which have the number 0.
pub(super) struct Attempt {
    pub(super) replay: i32,
    pub(super) now: OffsetDateTime,
}

impl Attempt {
    pub(super) async fn write(&self, connection: &mut PgConnection, letters: &[Listed<'_>]) -> Result<(), sqlx::Error> {
        let (of_items, others): (Vec<_>, Vec<_>) = letters.iter().cloned().partition(Listed::is_of_items);
        if self.replay > 0 {
            for (stage, refused) in [(Stage::Sink, &of_items), (Stage::Normalizer, &others)] {
                let items: Vec<Items> = refused.iter().filter_map(Listed::of_record).collect();
                split(connection, stage, Divided::WithResolved, &items).await?;
            }
            self.refuse_again(connection, &of_items).await?;
        }
        let unlisted = unlisted(connection, of_items).await?;
        let rows: Vec<Listed<'_>> = by_key(others.into_iter().chain(unlisted)).into_values().collect();
        self.insert(connection, &rows).await
    }

    /// Adds rows. A row that exists gets the content of the later dead letter.
    async fn insert(&self, connection: &mut PgConnection, rows: &[Listed<'_>]) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let texts = |pick: for<'l> fn(&'l DeadLetter) -> Option<&'l str>| -> Vec<Option<&str>> {
            rows.iter().map(|row| pick(row.letter)).collect()
        };
        let ints = |pick: fn(&Listed<'_>) -> i32| -> Vec<i32> { rows.iter().map(pick).collect() };
        // Items that were refused before as a part of another run have their attempts counted on.
        sqlx::query!(
            "INSERT INTO dead_letters AS l (origin_topic, origin_partition, origin_offset, item, item_count, stage, reason, detail, \
                 content_hmac, raw_topic, topic_epoch, raw_partition, raw_offset, origin_at, letter_partition, letter_offset, receipt, \
                 device_key, source, credential, correlation_id, format, provider, attempts, first_attempt_at, last_attempt_at, replay) \
             SELECT n.origin_topic, n.origin_partition, n.origin_offset, n.item, n.item_count, n.stage, n.reason, n.detail, \
                 n.content_hmac, n.raw_topic, n.topic_epoch, n.raw_partition, n.raw_offset, n.origin_at, n.letter_partition, \
                 n.letter_offset, n.receipt, n.device_key, n.source, n.credential, n.correlation_id, n.format, n.provider, \
                 greatest(n.attempt, before.attempts + 1), least(n.at, before.first_attempt_at), n.at, $26 \
             FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::integer[], $5::integer[], $6::text[], $7::text[], $8::text[], \
                 $9::text[], $10::text[], $11::integer[], $12::integer[], $13::bigint[], $14::timestamptz[], $15::integer[], \
                 $16::bigint[], $17::text[], $18::uuid[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[], \
                 $24::integer[], $25::timestamptz[]) \
                 n(origin_topic, origin_partition, origin_offset, item, item_count, stage, reason, detail, content_hmac, raw_topic, \
                   topic_epoch, raw_partition, raw_offset, origin_at, letter_partition, letter_offset, receipt, device_key, source, \
                   credential, correlation_id, format, provider, attempt, at) \
             CROSS JOIN LATERAL ( \
                 SELECT coalesce(max(o.attempts), 0) AS attempts, min(o.first_attempt_at) AS first_attempt_at \
                 FROM dead_letters o \
                 WHERE $26 > 0 AND o.raw_offset = n.raw_offset AND o.raw_partition = n.raw_partition AND o.raw_topic = n.raw_topic \
                     AND o.topic_epoch = n.topic_epoch AND o.stage = n.stage AND o.replay < $26 \
                     AND (o.item < 0 OR n.item < 0 \
                          OR o.item < n.item::bigint + n.item_count AND n.item < o.item::bigint + o.item_count)) before \
             ON CONFLICT (origin_topic, topic_epoch, origin_partition, origin_offset, item, stage) DO UPDATE \
             SET reason = excluded.reason, detail = excluded.detail, item_count = excluded.item_count, \
                 letter_partition = excluded.letter_partition, letter_offset = excluded.letter_offset, \
                 content_hmac = coalesce(excluded.content_hmac, l.content_hmac), receipt = coalesce(l.receipt, excluded.receipt), \
                 device_key = coalesce(excluded.device_key, l.device_key), source = coalesce(excluded.source, l.source), \
                 credential = coalesce(excluded.credential, l.credential), \
                 correlation_id = coalesce(excluded.correlation_id, l.correlation_id), format = coalesce(excluded.format, l.format), \
                 provider = coalesce(excluded.provider, l.provider), \
                 attempts = CASE WHEN excluded.replay > l.replay THEN greatest(l.attempts + 1, excluded.attempts) ELSE l.attempts END, \
                 first_attempt_at = least(l.first_attempt_at, excluded.first_attempt_at), \
                 last_attempt_at = CASE WHEN excluded.replay > l.replay THEN excluded.last_attempt_at \
                     ELSE coalesce(l.last_attempt_at, excluded.last_attempt_at) END, \
                 replay = excluded.replay, \
                 (state, state_at, state_by, state_reason) = ( \
                     SELECT k.state, k.at, k.by, k.why \
                     FROM (VALUES (true, l.state, l.state_at, l.state_by, l.state_reason), \
                                  (false, 'open', $27::timestamptz, NULL, NULL)) k(is_kept, state, at, by, why) \
                     WHERE k.is_kept = (excluded.replay = l.replay OR l.state = 'open' \
                         OR l.state = 'discarded' AND l.reason = excluded.reason)) \
             WHERE excluded.replay > l.replay OR excluded.replay = l.replay \
                 AND l.letter_partition = excluded.letter_partition AND l.letter_offset < excluded.letter_offset",
            texts(|letter| Some(&letter.origin_topic)) as _,
            ints(|row| row.letter.origin_partition) as _,
            rows.iter().map(|row| row.letter.origin_offset).collect::<Vec<_>>() as _,
            ints(|row| row.item) as _,
            ints(|row| row.item_count) as _,
            texts(|letter| Some(letter.stage.as_str())) as _,
            texts(|letter| Some(letter.reason.as_str())) as _,
            texts(|letter| Some(&letter.detail)) as _,
            texts(|letter| letter.content_hmac.as_deref()) as _,
            rows.iter().map(|row| row.raw.map(|raw| raw.topic.as_str())).collect::<Vec<_>>() as _,
            ints(|row| epoch(row.raw)) as _,
            rows.iter().map(|row| row.raw.map(|raw| raw.partition)).collect::<Vec<_>>() as _,
            rows.iter().map(|row| row.raw.map(|raw| raw.offset)).collect::<Vec<_>>() as _,
            rows.iter().map(|row| moment(row.letter.origin_timestamp)).collect::<Vec<_>>() as _,
            ints(|row| row.origin.partition.number) as _,
            rows.iter().map(|row| row.origin.offset).collect::<Vec<_>>() as _,
            rows.iter().map(|row| row.receipt).collect::<Vec<_>>() as _,
            rows.iter().map(|row| row.letter.device).collect::<Vec<_>>() as _,
            texts(|letter| letter.about.source.as_deref()) as _,
            texts(|letter| letter.about.credential.as_deref()) as _,
            texts(|letter| letter.about.correlation_id.as_deref()) as _,
            texts(|letter| letter.about.format.as_deref()) as _,
            texts(|letter| letter.about.provider.map(Provider::as_str)) as _,
            ints(|row| row.letter.attempt) as _,
            rows.iter().map(|row| moment(row.origin.timestamp)).collect::<Vec<_>>() as _,
            self.replay,
            self.now
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Counts an attempt in the rows of these items that are of earlier attempts. No row has items of which only some are refused
    /// again: [`split`] has divided those.
    async fn refuse_again(&self, connection: &mut PgConnection, rows: &[Listed<'_>]) -> Result<(), sqlx::Error> {
        let items: Vec<Items> = rows.iter().filter_map(Listed::of_record).collect();
        if items.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "UPDATE dead_letters l \
             SET reason = n.reason, detail = n.detail, letter_partition = n.letter_partition, letter_offset = n.letter_offset, \
                 attempts = greatest(l.attempts + 1, n.attempt), last_attempt_at = n.at, replay = $12, \
                 (state, state_at, state_by, state_reason) = ( \
                     SELECT k.state, k.at, k.by, k.why \
                     FROM (VALUES (true, l.state, l.state_at, l.state_by, l.state_reason), \
                                  (false, 'open', $13::timestamptz, NULL, NULL)) k(is_kept, state, at, by, why) \
                     WHERE k.is_kept = (l.state = 'open' OR l.state = 'discarded' AND l.reason = n.reason)) \
             FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], \
                 $9::integer[], $10::bigint[], $11::timestamptz[], $14::integer[]) \
                 n(topic, epoch, partition, log_offset, first, behind, reason, detail, letter_partition, letter_offset, at, attempt) \
             WHERE l.raw_offset = n.log_offset AND l.raw_partition = n.partition AND l.raw_topic = n.topic AND l.topic_epoch = n.epoch \
                 AND l.stage = $15 AND l.item >= n.first AND l.item::bigint + l.item_count <= n.behind AND l.replay < $12",
            items.iter().map(|of| of.raw.topic.as_str()).collect::<Vec<_>>() as _,
            &items.iter().map(|of| of.raw.topic_epoch).collect::<Vec<_>>(),
            &items.iter().map(|of| of.raw.partition).collect::<Vec<_>>(),
            &items.iter().map(|of| of.raw.offset).collect::<Vec<_>>(),
            &items.iter().map(|of| of.items.start).collect::<Vec<_>>(),
            &items.iter().map(|of| of.items.end).collect::<Vec<_>>(),
            rows.iter().map(|row| row.letter.reason.as_str()).collect::<Vec<_>>() as _,
            rows.iter().map(|row| row.letter.detail.as_str()).collect::<Vec<_>>() as _,
            &rows.iter().map(|row| row.origin.partition.number).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.origin.offset).collect::<Vec<_>>(),
            &rows.iter().map(|row| moment(row.origin.timestamp)).collect::<Vec<_>>(),
            self.replay,
            self.now,
            &rows.iter().map(|row| row.letter.attempt).collect::<Vec<_>>(),
            Stage::Sink.as_str()
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
