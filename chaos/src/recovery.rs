//! Whether an installation works again: fresh payloads pass through every partition.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rand::rngs::StdRng;
use schemas::{format::RawTopic, receipt::RawPosition};
use serde_json::json;
use sqlx::PgPool;
use store::topic_code;

use crate::{
    installation::Installation,
    traffic::{request::Request, sender::Sender},
    wait::holds_within,
};

/// The least number of payloads that are sent.
const PROBES_MIN: usize = 15;
/// The largest number: the content of a payload decides about its partition.
const PROBES_MAX: usize = 120;

/// Sends fresh payloads until each partition of the raw topics of payloads has one, and waits until all of them are stored. Returns
/// how long that took; `None` if it took longer than `within`.
pub(crate) async fn recovery(
    installation: &Installation<'_>,
    sender: &Sender,
    dice: &mut StdRng,
    within: Duration,
) -> Option<Duration> {
    let begun = Instant::now();
    let deadline = begun + within;
    let mut sent = Vec::new();
    let mut reached: BTreeSet<(RawTopic, i32)> = BTreeSet::new();
    let wanted = 2 * usize::from(installation.partitions);
    while sent.len() < PROBES_MIN || (reached.len() < wanted && sent.len() < PROBES_MAX) {
        let position = sender.send(Request::probe(dice, sent.len()), None, deadline).await?;
        if position.topic != RawTopic::Uploads {
            reached.insert((position.topic, position.partition));
        }
        sent.push(position);
    }
    sent.push(sender.send(command(dice), None, deadline).await?);
    let left = deadline.saturating_duration_since(Instant::now());
    let are_stored = async || unstored(&installation.pool, &sent).await.is_ok_and(|count| count == 0);
    holds_within(left, are_stored).await.map(|_| begun.elapsed())
}

fn command(dice: &mut StdRng) -> Request {
    let body = json!({
        "deviceId": "probe", "deviceType": "Scale", "name": "Scale", "deviceProvider": "medisante",
        "assignedPatientId": "patient-1",
    });
    Request::command(dice, "assign", body.to_string().into_bytes())
}

/// Counts the raw records that have no outcome in Postgres, or whose readings are not all there. Duplicates and dead letters count
/// as being there.
pub(crate) async fn unstored(pool: &PgPool, positions: &[RawPosition]) -> Result<usize, sqlx::Error> {
    let topics: Vec<&str> = positions.iter().map(|position| position.topic.as_str()).collect();
    let codes: Vec<i16> = positions.iter().map(|position| topic_code(position.topic)).collect();
    let partitions: Vec<i32> = positions.iter().map(|position| position.partition).collect();
    let offsets: Vec<i64> = positions.iter().map(|position| position.offset).collect();
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM unnest($1::text[], $2::smallint[], $3::integer[], $4::bigint[]) p(topic, code, part, log_offset)
         LEFT JOIN outcomes o ON o.topic = p.topic AND o.topic_epoch = 0 AND o.raw_partition = p.part
             AND o.first_offset <= p.log_offset AND o.last_offset >= p.log_offset
         WHERE o.topic IS NULL
            OR o.readings > 0 AND NOT EXISTS (
                SELECT FROM readings r
                WHERE r.topic_code = p.code AND r.raw_partition = p.part AND r.raw_offset = p.log_offset
                UNION ALL
                SELECT FROM reading_versions v
                WHERE v.topic_code = p.code AND v.raw_partition = p.part AND v.raw_offset = p.log_offset
                UNION ALL
                SELECT FROM reading_duplicates d
                WHERE d.topic_code = p.code AND d.raw_partition = p.part AND d.raw_offset = p.log_offset
                UNION ALL
                SELECT FROM dead_letters l
                WHERE l.raw_topic = p.topic AND l.raw_partition = p.part AND l.raw_offset = p.log_offset)
            OR o.commands > 0 AND NOT EXISTS (
                SELECT FROM device_commands c WHERE c.raw_partition = p.part AND c.raw_offset = p.log_offset)",
    )
    .bind(topics)
    .bind(codes)
    .bind(partitions)
    .bind(offsets)
    .fetch_one(pool)
    .await?;
    Ok(usize::try_from(count).unwrap_or_default())
}
