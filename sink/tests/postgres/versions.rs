//! Versions of one reading in any order and in any batches: the rows and the duplicates in the tables always end up in the
//! order of versions.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use schemas::{
    event::{Provenance, Reading, Status},
    format::{Format, Provider, RawTopic},
    version::{Appended, SourceVersion, Version},
};
use uuid::Uuid;

use super::{
    database::Database,
    sample::{DAY, MAY, SECOND, quantity, read, reading},
    store::write,
};

#[tokio::test]
async fn versions_in_any_order_end_in_the_same_row() {
    let versions = |id| -> Vec<Reading> {
        let corrected = Reading {
            content: [2; 16],
            value: quantity("6.1"),
            measured_from: Some(MAY + DAY),
            status: Status::Amended,
            ..reading(id, 5)
        };
        let newer_by_source =
            Reading { content: [3; 16], value: quantity("7"), source_version: Some(2), ..reading(id, 2) };
        let mut better_mapping = Reading { value: quantity("5.5"), ..reading(id, 0) };
        better_mapping.provenance.mapping_version = 2;
        vec![reading(id, 0), corrected, newer_by_source, better_mapping, reading(id, 9)]
    };
    let state = "SELECT t || concat_ws(' ', substring(content::text FOR 8), value_num, 's' || source_version, raw_offset, \
        mapping_version, 'f' || first_offset, status, to_char(measured_from, 'MM-DD')) \
        FROM (SELECT 'row ' t, * FROM readings UNION ALL SELECT 'version ', * FROM reading_versions) x \
        WHERE reading_id = '$' UNION ALL SELECT 'duplicate ' || raw_offset FROM reading_duplicates WHERE reading_id = '$' \
        ORDER BY 1";
    // The source's own version decides. The earlier content is kept, as the better mapping reads it. The repetition is a
    // duplicate.
    let wanted = "duplicate 9;row 03030303 7 s2 2 1 final 05-01;version 01010101 5.5 0 2 final 05-01;\
        version 02020202 6.1 5 1 amended 05-02";
    let database = Database::make().await;
    let orders = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [3, 1, 4, 0, 2]];
    for (id, (order, batch)) in (1..).zip(orders.into_iter().flat_map(|order| [1, 2, 5].map(|batch| (order, batch)))) {
        let all = versions(id);
        let ordered: Vec<Reading> = order.iter().map(|at| all[*at].clone()).collect();
        for chunk in ordered.chunks(batch) {
            write(&database, chunk.iter().cloned().map(read).collect()).await;
        }
        let end = database.text(&state.replace('$', &all[0].reading_id.to_string())).await;
        assert_eq!(end, wanted, "{order:?} in batches of {batch}");
    }
}

#[tokio::test]
async fn a_duplicate_that_becomes_the_row_of_the_reading_is_no_longer_a_duplicate() {
    let database = Database::make().await;
    let positions = "SELECT 'row ' || raw_offset FROM readings UNION ALL \
        SELECT 'duplicate ' || raw_offset FROM reading_duplicates ORDER BY 1";
    write(&database, vec![read(reading(1, 0)), read(reading(1, 3))]).await;
    assert_eq!(database.text(positions).await, "duplicate 3;row 0");
    // A better mapping has read the repetition, but not yet the first delivery.
    let mut better = reading(1, 3);
    better.provenance.mapping_version = 2;
    write(&database, vec![read(better)]).await;
    assert_eq!(database.text(positions).await, "duplicate 0;row 3");
    let mut better = reading(1, 0);
    better.provenance.mapping_version = 2;
    write(&database, vec![read(better)]).await;
    assert_eq!(database.text(positions).await, "duplicate 3;row 0");
}

/// Pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in 0..all.len() {
            let other = self.below(all.len() as u64);
            all.swap(at, usize::try_from(other).unwrap());
        }
    }
}

/// A delivery of reading `id`. A raw position contains one content under one source version, whichever mapping reads it. The
/// two topics have the same partitions and offsets.
fn delivery(id: u128, dice: &mut Dice) -> Reading {
    let (offset, topic, mapping_version) = (dice.below(5), dice.below(2), 1 + dice.below(2));
    let content = (offset + topic) % 3;
    let source_version = (offset % 2 == 0).then_some(i64::try_from(offset / 2).unwrap());
    let topic = if topic == 0 { RawTopic::HealthKit } else { RawTopic::Uploads };
    let at = i64::try_from(offset).unwrap();
    Reading {
        provider: Provider::HealthKit,
        content: [u8::try_from(content).unwrap(); 16],
        value: quantity(&format!("{offset}.{}{mapping_version}", topic.code())),
        source_version,
        received_at: MAY + at / 2 * SECOND,
        provenance: Provenance {
            topic: Some(topic),
            topic_epoch: 1,
            partition: 0,
            offset: at,
            item: 0,
            format: Format::HealthAutoExport,
            mapping_version: i32::try_from(mapping_version).unwrap(),
            catalogue_revision: 0,
        },
        ..reading(id, at)
    }
}

/// The expected rows in the tables after these deliveries, computed without plans and steps.
fn expected(deliveries: &[Reading]) -> BTreeSet<String> {
    let versions: Vec<(Uuid, Version)> =
        deliveries.iter().map(|one| (Uuid::from_bytes(one.content), Version::of(one))).collect();
    let mut kept: BTreeMap<Uuid, (SourceVersion, Appended, i32, Appended)> = BTreeMap::new();
    for (content, _) in &versions {
        let of_content = || versions.iter().filter(|(other, _)| other == content).map(|(_, version)| version);
        let source = of_content().map(|version| version.source).max().unwrap();
        let under_source = || of_content().filter(|version| version.source == source);
        let first = under_source().map(|version| version.row).min().unwrap();
        let row = under_source().max_by_key(|version| (version.mapped_by, Reverse(version.row))).unwrap();
        kept.insert(*content, (source, first, row.mapped_by.mapping, row.row));
    }
    let current = *kept.iter().max_by_key(|(content, kept)| (**kept, **content)).unwrap().0;
    let id = deliveries[0].reading_id;
    let place = |at: &Appended| format!("{}:{}", at.topic.code(), at.offset);
    let mut lines = BTreeSet::new();
    for (content, (source, first, mapping_version, row)) in &kept {
        let table = if *content == current { "row" } else { "version" };
        let number = source.number.map(|number| format!(" s{number}")).unwrap_or_default();
        let first = if first == row { String::new() } else { format!(" f{}", place(first)) };
        let value = format!("{}.{}{mapping_version}", row.offset, row.topic.code());
        lines.insert(format!("{id} {table} {content} {} {mapping_version} {value}{number}{first}", place(row)));
    }
    let rows: BTreeSet<Appended> = kept.values().map(|(_, _, _, row)| *row).collect();
    let others = versions.iter().map(|(_, version)| version.row).filter(|row| !rows.contains(row));
    lines.extend(others.map(|row| format!("{id} duplicate {}", place(&row))));
    lines
}

async fn found(database: &Database) -> BTreeSet<String> {
    let statement = "SELECT concat_ws(' ', reading_id, t, content, topic_code || ':' || raw_offset, mapping_version, value_num, \
            's' || source_version, 'f' || first_topic_code || ':' || first_offset) \
        FROM (SELECT 'row' t, * FROM readings UNION ALL SELECT 'version', * FROM reading_versions) x \
        UNION ALL SELECT concat_ws(' ', reading_id, 'duplicate', topic_code || ':' || raw_offset) FROM reading_duplicates";
    let lines: Vec<String> = sqlx::query_scalar(statement).fetch_all(&database.pool).await.unwrap();
    let all = lines.len();
    let lines: BTreeSet<String> = lines.into_iter().collect();
    assert_eq!(lines.len(), all);
    lines
}

/// `SINK_CASES` sets the number of readings: some hundred in CI.
#[tokio::test]
async fn any_deliveries_in_any_batches_end_with_the_highest_version() {
    let cases = std::env::var("SINK_CASES").map_or(300, |cases| cases.parse().unwrap());
    let database = Database::make().await;
    let mut dice = Dice(42);
    let mut all = Vec::new();
    let mut wanted = BTreeSet::new();
    for id in 1..=cases {
        let deliveries: Vec<Reading> = (0..=dice.below(8)).map(|_| delivery(id, &mut dice)).collect();
        wanted.extend(expected(&deliveries));
        all.extend(deliveries);
    }
    // The second pass redelivers everything, in another order and in other batches.
    for _ in 0..2 {
        dice.shuffle(&mut all);
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(rest.len().min(1 + usize::try_from(dice.below(60)).unwrap()));
            write(&database, batch.iter().cloned().map(read).collect()).await;
            rest = behind;
        }
        let found = found(&database).await;
        let differing: Vec<&String> = wanted.symmetric_difference(&found).take(20).collect();
        assert!(differing.is_empty(), "either expected or found, but not both: {differing:#?}");
    }
}

/// The items of a reading that it was delivered from, and whether a replay withdrew each.
fn withdrawn_deliveries(dice: &mut Dice) -> Vec<(i64, bool)> {
    let offsets: Vec<i64> = (0..5).filter(|_| dice.below(2) == 0).collect();
    offsets.into_iter().map(|offset| (offset, dice.below(2) == 0)).collect()
}

/// The event of a replay about a delivery, by the next mapping.
fn replayed(delivered: &Reading, withdrawn: bool) -> Reading {
    let mut reading = Reading { withdrawn, replay: Some(1), ..delivered.clone() };
    reading.provenance.mapping_version += 1;
    reading
}

fn withdrawal(delivered: &Reading) -> Reading {
    replayed(delivered, true)
}

#[tokio::test]
async fn withdrawals_in_any_order_leave_the_deliveries_that_remain() {
    let database = Database::make().await;
    let mut dice = Dice(43);
    let (mut all, mut wanted) = (Vec::new(), BTreeSet::new());
    for id in 1..=200 {
        let deliveries = withdrawn_deliveries(&mut dice);
        let key = reading(id, 0).reading_id;
        let (void, remaining): (Vec<_>, Vec<_>) = deliveries.iter().partition(|(_, is_withdrawn)| *is_withdrawn);
        let row = remaining.iter().chain(&void).next();
        // Which item the row of a withdrawn reading names does not matter.
        let place =
            |offset: &i64, is_withdrawn: bool| if is_withdrawn { "withdrawn".to_owned() } else { offset.to_string() };
        wanted.extend(row.map(|(offset, is_withdrawn)| format!("{key} row {}", place(offset, *is_withdrawn))));
        wanted.extend(remaining.iter().skip(1).map(|(offset, _)| format!("{key} duplicate {offset}")));
        wanted.extend(void.iter().map(|(offset, _)| format!("{key} withdrawn {offset}")));
        // A replay that withdraws a delivery publishes the others again, because the sink keeps only one row of them.
        for (offset, is_withdrawn) in &deliveries {
            all.push(reading(id, *offset));
            all.extend((!void.is_empty()).then(|| replayed(&reading(id, *offset), *is_withdrawn)));
        }
    }
    for _ in 0..2 {
        dice.shuffle(&mut all);
        for batch in all.chunks(37) {
            write(&database, batch.iter().cloned().map(read).collect()).await;
        }
        let statement = "SELECT concat_ws(' ', reading_id, 'row', CASE WHEN withdrawn THEN 'withdrawn' ELSE raw_offset::text END) FROM readings UNION ALL \
            SELECT concat_ws(' ', reading_id, CASE WHEN withdrawn_mapping IS NULL THEN 'duplicate' ELSE 'withdrawn' END, raw_offset) \
            FROM reading_duplicates";
        let found: Vec<String> = sqlx::query_scalar(statement).fetch_all(&database.pool).await.unwrap();
        let found: BTreeSet<String> = found.into_iter().collect();
        let differing: Vec<&String> = wanted.symmetric_difference(&found).take(20).collect();
        assert!(differing.is_empty(), "either expected or found, but not both: {differing:#?}");
    }
    let versions: i64 =
        sqlx::query_scalar("SELECT count(*) FROM reading_versions").fetch_one(&database.pool).await.unwrap();
    assert_eq!(versions, 0);
}

#[tokio::test]
async fn a_withdrawn_reading_comes_back_when_a_later_record_or_mapping_yields_it() {
    let database = Database::make().await;
    let state = "SELECT concat_ws(' ', raw_offset, mapping_version, (withdrawn IS TRUE)::text) FROM readings";
    let shown = "SELECT count(*)::text FROM attributed_readings";
    write(&database, vec![read(reading(1, 0))]).await;
    write(&database, vec![read(withdrawal(&reading(1, 0)))]).await;
    assert_eq!((database.text(state).await, database.text(shown).await), ("0 2 true".to_owned(), "0".to_owned()));
    assert_eq!(database.text("SELECT count(*)::text FROM all_readings WHERE withdrawn").await, "1");
    // The sender sends the sample again.
    write(&database, vec![read(reading(1, 5))]).await;
    assert_eq!((database.text(state).await, database.text(shown).await), ("5 1 false".to_owned(), "1".to_owned()));
    write(&database, vec![read(withdrawal(&reading(1, 5)))]).await;
    // A still later mapping yields it from the first record.
    let mut later = reading(1, 0);
    later.provenance.mapping_version = 3;
    write(&database, vec![read(later)]).await;
    assert_eq!((database.text(state).await, database.text(shown).await), ("0 3 false".to_owned(), "1".to_owned()));
}
