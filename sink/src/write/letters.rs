//! The list of dead letters.

use std::collections::BTreeMap;

use schemas::{dead_letter::DeadLetter, receipt::RawPosition};
use sqlx::PgConnection;

use super::moment;
use crate::batch::{Body, Item, Origin};

/// A letter, the position of the raw record that it is about, where that is known, and where the letter itself lies.
type Listed<'i> = (&'i DeadLetter, Option<RawPosition>, Origin);

pub(super) async fn write(connection: &mut PgConnection, items: &[Item]) -> Result<(), sqlx::Error> {
    let letters: Vec<Listed<'_>> = listed(items).into_values().collect();
    if letters.is_empty() {
        return Ok(());
    }
    let texts = |pick: for<'l> fn(&'l DeadLetter) -> Option<&'l str>| -> Vec<Option<&str>> {
        letters.iter().map(|(letter, ..)| pick(letter)).collect()
    };
    let ints = |pick: fn(&Listed<'_>) -> i32| -> Vec<i32> { letters.iter().map(pick).collect() };
    sqlx::query(
        "INSERT INTO dead_letters AS l (origin_topic, origin_partition, origin_offset, item, item_count, stage, reason, \
             detail, content_hmac, raw_topic, topic_epoch, raw_partition, raw_offset, origin_at, letter_partition, \
             letter_offset) \
         SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::integer[], $5::integer[], $6::text[], \
             $7::text[], $8::text[], $9::text[], $10::text[], $11::integer[], $12::integer[], $13::bigint[], \
             $14::timestamptz[], $15::integer[], $16::bigint[]) \
         ON CONFLICT (origin_topic, topic_epoch, origin_partition, origin_offset, item, stage) DO UPDATE \
         SET reason = excluded.reason, detail = excluded.detail, item_count = excluded.item_count, \
             letter_offset = excluded.letter_offset \
         WHERE l.letter_partition = excluded.letter_partition AND l.letter_offset < excluded.letter_offset",
    )
    .bind(texts(|letter| Some(&letter.origin_topic)))
    .bind(ints(|(letter, ..)| letter.origin_partition))
    .bind(letters.iter().map(|(letter, ..)| letter.origin_offset).collect::<Vec<_>>())
    .bind(ints(|(letter, ..)| first_item(letter)))
    .bind(ints(|(letter, ..)| letter.item_count))
    .bind(texts(|letter| Some(letter.stage.as_str())))
    .bind(texts(|letter| Some(letter.reason.as_str())))
    .bind(texts(|letter| Some(&letter.detail)))
    .bind(texts(|letter| letter.content_hmac.as_deref()))
    .bind(letters.iter().map(|(_, raw, _)| raw.map(|raw| raw.topic.as_str())).collect::<Vec<_>>())
    .bind(ints(|(_, raw, _)| epoch(*raw)))
    .bind(letters.iter().map(|(_, raw, _)| raw.map(|raw| raw.partition)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(_, raw, _)| raw.map(|raw| raw.offset)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, ..)| moment(letter.origin_timestamp)).collect::<Vec<_>>())
    .bind(ints(|(.., origin)| origin.place.1))
    .bind(letters.iter().map(|(.., origin)| origin.offset).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// The letters by the key of the list; of two with the same key the later one.
fn listed(items: &[Item]) -> BTreeMap<(&str, i32, i32, i64, i32, &str), Listed<'_>> {
    let letters = items.iter().filter_map(|item| match &item.body {
        Body::Letter(letter) => Some((letter.as_ref(), item.origin)),
        Body::Reading(_) | Body::Assignment(_) | Body::Document(_) | Body::Outcome(_) | Body::Refused(_) => None,
    });
    letters
        .map(|(letter, origin)| {
            let raw = letter.raw_position.as_deref().and_then(|text| text.parse().ok());
            let (topic, stage) = (letter.origin_topic.as_str(), letter.stage.as_str());
            let item = first_item(letter);
            let key = (topic, epoch(raw), letter.origin_partition, letter.origin_offset, item, stage);
            (key, (letter, raw, origin))
        })
        .collect()
}

/// -1 stands for the whole message.
fn first_item(letter: &DeadLetter) -> i32 {
    letter.item.unwrap_or(-1)
}

/// -1 stands for an unknown position.
fn epoch(raw: Option<RawPosition>) -> i32 {
    raw.map_or(-1, |raw| raw.topic_epoch)
}
