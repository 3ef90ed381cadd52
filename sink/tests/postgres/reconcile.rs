//! What a reconciliation counts of a raw record: one place for each item, by the newest outcome.

use schemas::{
    dead_letter::DeadLetter,
    event::{DocumentReference, Outcome, Reading, Value},
    format::RawTopic,
    receipt::RawPosition,
    version::MappedBy,
};
use sqlx::PgConnection;
use store::{
    reconcile::{Place, StoredRecord, items, lock_accounted, outside, records, runs, set_accounted, without_document},
    replay::RawRange,
};

use super::{
    database::Database,
    sample::{assignment, commanded, ended, filed, listed, outcome, read, reading},
    store::{document, letter, of_sink, write},
};

fn range(first: i64, end: i64) -> RawRange {
    RawRange { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, first, end }
}

async fn stored(connection: &mut PgConnection) -> Vec<StoredRecord> {
    records(connection, &range(0, 10)).await.unwrap()
}

fn record(offset: i64, current: i64) -> StoredRecord {
    StoredRecord { offset, current, ..StoredRecord::default() }
}

/// The withdrawal of a delivery by the second mapping.
fn withdrawn(reading: Reading) -> Reading {
    let mut reading = Reading { withdrawn: true, replay: Some(1), ..reading };
    reading.provenance.mapping_version = 2;
    reading
}

#[tokio::test]
async fn each_item_is_counted_in_one_place() {
    let database = Database::make().await;
    let mut connection = database.pool.acquire().await.unwrap();
    // Two contents of one item, of which the second mapping made the current one.
    let mut mapped_again = Reading { content: [2; 16], ..reading(1, 0) };
    mapped_again.provenance.mapping_version = 2;
    write(&database, vec![read(reading(1, 0)), read(mapped_again)]).await;
    assert_eq!(stored(&mut connection).await, [record(0, 1)]);
    // A second delivery of it, and a correction of another reading.
    let corrected = Reading { content: [3; 16], ..reading(2, 3) };
    write(&database, vec![read(reading(1, 1)), read(reading(2, 2)), read(corrected)]).await;
    let duplicate = StoredRecord { duplicates: 1, ..record(1, 0) };
    let superseded = StoredRecord { superseded: 1, ..record(2, 0) };
    assert_eq!(stored(&mut connection).await, [record(0, 1), duplicate, superseded, record(3, 1)]);
    // Items that were refused, at an offset of their own.
    write(&database, vec![listed(letter(Some(0), 3), 0), listed(of_sink(&(7..9)), 1)]).await;
    let refused = StoredRecord { refused: 3, refused_by_sink: 2, ..record(5, 0) };
    assert_eq!(stored(&mut connection).await.last(), Some(&refused));
    sqlx::query("UPDATE dead_letters SET state = 'redriven' WHERE stage = 'normalizer'")
        .execute(&mut *connection)
        .await
        .unwrap();
    let redriven = StoredRecord { refused: 0, redriven: 3, ..refused };
    assert_eq!(stored(&mut connection).await.last(), Some(&redriven));
    // One of them is stored since.
    let mut later = reading(9, 5);
    later.provenance.item = 1;
    write(&database, vec![read(later)]).await;
    assert_eq!(stored(&mut connection).await.last(), Some(&StoredRecord { current: 1, redriven: 2, ..redriven }));
    sqlx::query("UPDATE dead_letters SET state = 'resolved'").execute(&mut *connection).await.unwrap();
    assert_eq!(stored(&mut connection).await.last(), Some(&record(5, 1)));
}

#[tokio::test]
async fn an_item_that_is_stored_twice_is_an_excess_and_a_duplicate_of_nothing_is_none() {
    let database = Database::make().await;
    let mut connection = database.pool.acquire().await.unwrap();
    write(&database, vec![read(reading(1, 0)), read(reading(1, 1)), read(reading(2, 2))]).await;
    let insert = "INSERT INTO reading_duplicates (reading_id, topic_code, topic_epoch, raw_partition, raw_offset, item) \
        SELECT reading_id, 0, 1, 0, raw_offset, 0 FROM readings WHERE raw_offset = 2";
    sqlx::query(insert).execute(&mut *connection).await.unwrap();
    let twice = StoredRecord { excess: 1, ..record(2, 1) };
    assert_eq!(stored(&mut connection).await, [record(0, 1), StoredRecord { duplicates: 1, ..record(1, 0) }, twice]);
    let position = RawPosition { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset: 2 };
    let found = items(&mut connection, &position).await.unwrap();
    assert_eq!(
        found.iter().map(|item| (item.item, item.place, item.times)).collect::<Vec<_>>(),
        [(0, Place::Current, 2)]
    );
    sqlx::query("DELETE FROM readings WHERE raw_offset = 0").execute(&mut *connection).await.unwrap();
    assert_eq!(stored(&mut connection).await, [twice]);
}

#[tokio::test]
async fn a_reading_without_its_document_is_found_unless_a_sink_has_refused_that() {
    let database = Database::make().await;
    let mut connection = database.pool.acquire().await.unwrap();
    let citing = |id, offset, content: &str| {
        let cited = document(content);
        let bytes = i64::try_from(content.len()).unwrap();
        let value = DocumentReference { sha256: cited.sha256, content_type: cited.content_type, bytes, title: None };
        Reading { value: Value::Document(value), ..reading(id, offset) }
    };
    write(
        &database,
        vec![read(reading(1, 0)), read(citing(2, 1, "a")), read(citing(3, 2, "bb")), filed(document("a"))],
    )
    .await;
    let missing = async |connection: &mut PgConnection| -> Vec<(i64, i32)> {
        let found = without_document(connection, &range(0, 10)).await.unwrap();
        found.iter().map(|reading| (reading.offset, reading.item)).collect()
    };
    assert_eq!(missing(&mut connection).await, [(2, 0)]);
    assert_eq!(without_document(&mut connection, &range(0, 2)).await.unwrap(), []);
    // A version whose content another one superseded.
    let corrected = Reading { content: [2; 16], ..reading(3, 3) };
    write(&database, vec![read(corrected)]).await;
    assert_eq!(missing(&mut connection).await, [(2, 0)]);
    let refused = DeadLetter {
        origin_topic: "x.documents".to_owned(),
        raw_position: Some("raw.medisante:1:0:2".to_owned()),
        ..of_sink(&(0..1))
    };
    write(&database, vec![listed(refused, 9)]).await;
    assert_eq!(missing(&mut connection).await, []);
}

#[tokio::test]
async fn a_withdrawn_delivery_counts_until_the_outcome_is_as_new() {
    let database = Database::make().await;
    let mut connection = database.pool.acquire().await.unwrap();
    write(&database, vec![read(reading(1, 0)), read(reading(1, 1)), ended(outcome(0, 1)), ended(outcome(1, 1))]).await;
    let duplicate = StoredRecord { duplicates: 1, ..record(1, 0) };
    assert_eq!(stored(&mut connection).await, [record(0, 1), duplicate]);
    write(&database, vec![read(withdrawn(reading(1, 0))), read(withdrawn(reading(1, 1)))]).await;
    let counts = |records: Vec<StoredRecord>| -> Vec<(i64, i64, i64)> {
        records.iter().map(|one| (one.offset, one.current + one.duplicates, one.excess)).collect()
    };
    assert_eq!(counts(stored(&mut connection).await), [(0, 1, 0), (1, 1, 0)]);
    let newest = |offset| Outcome { items: 0, readings: 0, mapping_version: 2, replay: Some(1), ..outcome(offset, 0) };
    write(&database, vec![ended(newest(0))]).await;
    assert_eq!(counts(stored(&mut connection).await), [(1, 1, 0)]);
    write(&database, vec![ended(newest(1))]).await;
    assert_eq!(stored(&mut connection).await, []);
}

#[tokio::test]
async fn outcomes_commands_and_rows_of_a_range_are_found() {
    let database = Database::make().await;
    let mut connection = database.pool.acquire().await.unwrap();
    write(&database, (0..6).map(|offset| ended(outcome(offset, i32::from(offset == 4)))).collect()).await;
    let found = runs(&mut connection, &range(2, 5)).await.unwrap();
    assert_eq!(found.iter().map(|run| (run.first, run.last, run.readings)).collect::<Vec<_>>(), [(0, 3, 0), (4, 4, 1)]);
    assert_eq!(found[0].mapped_by, MappedBy { mapping: 1, ..MappedBy::default() });
    assert_eq!(runs(&mut connection, &range(6, 9)).await.unwrap(), []);
    write(&database, vec![commanded(assignment(3, Some("p"), 0)), read(reading(1, 8))]).await;
    sqlx::query("INSERT INTO excess_commands VALUES (1, 0, 5, 12)").execute(&mut *connection).await.unwrap();
    let of_commands = RawRange { topic: RawTopic::Devices, ..range(0, 8) };
    let commands = records(&mut connection, &of_commands).await.unwrap();
    assert_eq!(
        commands.iter().map(|one| (one.offset, one.commands)).collect::<Vec<_>>(),
        [(3, 1), (5, 1), (6, 1), (7, 1)]
    );
    let beyond = outside(&mut connection, &range(0, 4)).await.unwrap();
    let beyond: Vec<_> =
        beyond.iter().map(|rows| (rows.stored_in.as_str(), rows.first, rows.last, rows.rows)).collect();
    assert_eq!(beyond, [("outcomes", 4, 5, 2), ("readings", 8, 8, 1)]);
    let beyond = outside(&mut connection, &RawRange { end: 10, ..of_commands }).await.unwrap();
    assert_eq!(
        beyond.iter().map(|rows| (rows.stored_in.as_str(), rows.rows)).collect::<Vec<_>>(),
        [("excess_commands", 3)]
    );
}

#[tokio::test]
async fn one_process_at_a_time_moves_the_position_of_the_continuous_comparison() {
    let database = Database::make().await;
    let (mut one, mut two) = (database.pool.begin().await.unwrap(), database.pool.begin().await.unwrap());
    assert_eq!(lock_accounted(&mut one, &range(0, 40)).await.unwrap(), Some(40));
    set_accounted(&mut one, &range(40, 50)).await.unwrap();
    one.commit().await.unwrap();
    let mut one = database.pool.begin().await.unwrap();
    assert_eq!(lock_accounted(&mut one, &range(0, 60)).await.unwrap(), Some(50));
    assert_eq!(lock_accounted(&mut two, &range(0, 60)).await.unwrap(), None);
}
