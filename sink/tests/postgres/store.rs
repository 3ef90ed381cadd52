//! Versions, duplicates, the ledger, fencing, dead letters and documents in the tables.

use std::ops::Range;

use schemas::{
    dead_letter::{AboutPayload, DeadLetter, Stage},
    event::{Document, Outcome, Reading, SourceName, Status},
    format::{Provider, RawTopic},
    receipt::ItemPosition,
    rejection::Reason,
};
use sink::{
    batch::{Batch, Fence},
    item::{EventTopic, Item, Partition},
    write::{Session, WriteError},
};
use sqlx::Connection as _;
use store::trace::{ListingLimits, Progress, ReadingCount, TracedReading};

use super::{
    database::Database,
    sample::{DAY, MAY, SECOND, coding, device, ended, filed, key, listed, outcome, pressure, read, reading, topics},
};

pub(crate) async fn write(database: &Database, items: Vec<Item>) {
    let mut session = Session::open(&database.url).await.unwrap();
    session.write(&topics(), &mut Batch::new(0, items, Vec::new())).await.unwrap();
}

const LEDGER: &str = "SELECT format('%s=%s+%s+%s', promised_readings, rows, superseded, duplicates) FROM ledger";

#[tokio::test]
async fn ten_deliveries_are_one_row_and_nine_duplicates() {
    let database = Database::make().await;
    let all = |from: i64, to: i64| {
        (from..to).flat_map(|offset| [read(reading(1, offset)), ended(outcome(offset, 1))]).collect::<Vec<_>>()
    };
    write(&database, all(3, 8)).await;
    write(&database, all(0, 10)).await;
    // The normalizer was killed and produced everything again.
    write(&database, all(0, 10)).await;
    assert_eq!(database.text("SELECT raw_offset::text FROM readings").await, "0");
    assert_eq!(database.text(LEDGER).await, "10=1+0+9");
    assert_eq!(database.count("SELECT count(*) FROM outcomes").await, 1);
}

#[tokio::test]
async fn a_corrected_time_moves_the_row_and_entered_in_error_marks_it() {
    let database = Database::make().await;
    write(&database, vec![read(reading(1, 0))]).await;
    let corrected = Reading { content: [2; 16], measured_from: Some(MAY + DAY), ..reading(1, 1) };
    write(&database, vec![read(corrected)]).await;
    let seen = "SELECT measured_from::date || status FROM all_readings";
    assert_eq!(database.text(seen).await, "2024-05-02final");
    let withdrawn = Reading { content: [3; 16], status: Status::EnteredInError, ..reading(1, 2) };
    write(&database, vec![read(withdrawn)]).await;
    assert_eq!(database.text(seen).await, "2024-05-01entered-in-error");
    assert_eq!(database.count("SELECT count(*) FROM reading_versions").await, 2);
}

#[tokio::test]
async fn a_panel_is_a_row_for_each_part_and_the_receipt_can_be_read_back() {
    let database = Database::make().await;
    write(&database, vec![read(pressure(1, 42)), read(reading(2, 43))]).await;
    assert_eq!(
        database
            .text(
                "SELECT concat_ws(' ', component, code, panel_code, value_num, unit, flags, attribution) \
                 FROM attributed_readings ORDER BY reading_id, component"
            )
            .await,
        "1 8480-6 85354-9 120 mmol/L {out-of-range} never assigned;\
         2 8462-4 85354-9 80.0 mmol/L {out-of-range} never assigned;\
         0 15074-8 5.50 mmol/L {default-unit} never assigned"
    );
    let receipt = database.text("SELECT receipt FROM attributed_readings WHERE component = 2").await;
    let position: ItemPosition = key().read(&receipt).unwrap();
    assert_eq!((position.offset, position.item, position.topic_epoch), (42, 0, 1));
    let traced = traced(&database, &position, ALL).await;
    assert_eq!(traced.len(), 2);
    assert_eq!((traced[0].state.as_str(), traced[0].row.component), ("current", 1));
}

#[tokio::test]
async fn a_superseded_payload_is_traced_with_its_own_status_and_codes() {
    let database = Database::make().await;
    let other_code = |reading: Reading, offset: i64| {
        let mut reading = Reading {
            code: coding("other"),
            content: [2; 16],
            status: Status::Amended,
            received_at: MAY + offset * SECOND,
            ..reading
        };
        reading.provenance.offset = offset;
        reading
    };
    let mut panel = pressure(2, 0);
    panel.provenance.item = 1;
    let first = [reading(1, 0), panel];
    let [one, mut changed] = first.clone().map(|reading| other_code(reading, 1));
    changed.components.truncate(1);
    changed.components[0].code = coding("part");
    write(&database, first.into_iter().map(read).collect()).await;
    write(&database, vec![read(one), read(changed)]).await;
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let mut seen = Vec::new();
    for offset in [0, 1] {
        let position = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset, item: 0 };
        let counts = Progress::load(&mut connection, &position).await.unwrap().readings;
        let mut lines: Vec<String> =
            counts.iter().map(|count| format!("{} {} {}", count.state, count.status, count.code)).collect();
        lines.sort();
        for TracedReading { item, state, row } in traced(&database, &position, ALL).await {
            let (code, attribution) = (row.code.unwrap(), row.attribution);
            lines.push(format!("{item}.{} {state} {} {code} {attribution}", row.component, row.status));
        }
        seen.push(lines.join(";"));
    }
    assert_eq!(
        seen,
        [
            "superseded final 15074-8;superseded final 85354-9;0.0 superseded final 15074-8 never assigned;\
             1.1 superseded final 8480-6 never assigned;1.2 superseded final 8462-4 never assigned",
            "current amended other;0.0 current amended other never assigned;1.1 current amended part never assigned",
        ]
    );
}

const ALL: ListingLimits = ListingLimits { per_kind_max: None, item: 0 };

async fn traced(database: &Database, position: &ItemPosition, listing: ListingLimits) -> Vec<TracedReading> {
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let mut found = Vec::new();
    let keep = |reading| -> Result<(), sqlx::Error> {
        found.push(reading);
        Ok(())
    };
    listing.readings(&mut connection, position, keep).await.unwrap();
    found
}

#[tokio::test]
async fn the_progress_of_a_payload_counts_its_void_readings() {
    let database = Database::make().await;
    let item = |item: i32, status: Status| {
        let mut reading = Reading { status, ..reading(10 + u128::from(item.unsigned_abs()), 7) };
        reading.provenance.item = item;
        read(reading)
    };
    let position = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset: 7, item: 0 };
    let progress = async || {
        let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
        Progress::load(&mut connection, &position).await.unwrap()
    };
    write(&database, (0..9).map(|number| item(number, Status::Final)).collect()).await;
    write(&database, vec![ended(outcome(7, 10))]).await;
    assert!(!progress().await.is_complete());
    write(&database, vec![item(9, Status::EnteredInError)]).await;
    let progress = progress().await;
    assert!(progress.is_complete());
    let count = |status: &str, readings| ReadingCount {
        state: "current".to_owned(),
        status: status.to_owned(),
        code_system: coding("15074-8").system.into_owned(),
        code: "15074-8".to_owned(),
        display: Some("what 15074-8 is".to_owned()),
        readings,
    };
    assert!(progress.readings == [count("final", 9), count("entered-in-error", 1)]);

    let items = async |per_kind_max, item| -> Vec<i32> {
        traced(&database, &position, ListingLimits { per_kind_max, item })
            .await
            .iter()
            .map(|reading| reading.item)
            .collect()
    };
    assert_eq!(items(Some(2), 6).await, [0, 1, 6, 9]);
    assert_eq!(items(None, 0).await, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn only_one_of_two_writers_advances_the_offsets() {
    let database = Database::make().await;
    sqlx::query("INSERT INTO sink_offsets VALUES ('readings', 0, 0)").execute(&database.pool).await.unwrap();
    let fence = [Fence { partition: Partition { topic: EventTopic::Readings, number: 0 }, expected: 0, next: 1 }];
    let mut one = Session::open(&database.url).await.unwrap();
    let mut two = Session::open(&database.url).await.unwrap();
    let topics = topics();
    let batch = || Batch::new(0, vec![read(reading(1, 0))], fence.to_vec());
    let (mut first, mut second) = (batch(), batch());
    let (first, second) = tokio::join!(one.write(&topics, &mut first), two.write(&topics, &mut second));
    assert_eq!([&first, &second].iter().filter(|done| done.is_ok()).count(), 1);
    assert!([first, second].iter().any(|done| matches!(done, Err(WriteError::Fenced))));
    // An idle partition whose offset was moved back is noticed as well.
    let idle = [Fence { partition: Partition { topic: EventTopic::Readings, number: 0 }, expected: 7, next: 7 }];
    let mut three = Session::open(&database.url).await.unwrap();
    let mut batch = Batch::new(0, Vec::new(), idle.to_vec());
    assert!(matches!(three.write(&topics, &mut batch).await, Err(WriteError::Fenced)));
    assert_eq!(database.count("SELECT next_offset FROM sink_offsets").await, 1);
}

pub(crate) fn letter(first_item: Option<i32>, item_count: i32) -> DeadLetter {
    DeadLetter {
        origin_topic: "raw.medisante".to_owned(),
        origin_partition: 0,
        origin_offset: 5,
        origin_timestamp: MAY,
        item: first_item,
        stage: Stage::Normalizer,
        reason: Reason::UnitInvalid,
        detail: "the unit is unknown".to_owned(),
        item_count,
        device: None,
        content_hmac: None,
        raw_position: Some("raw.medisante:1:0:5".to_owned()),
        about: AboutPayload {
            source: Some("portal".to_owned()),
            credential: Some("key-1".to_owned()),
            correlation_id: Some("order-7".to_owned()),
            format: Some("standard-json".to_owned()),
            provider: Some(Provider::Medisante),
        },
        attempt: 1,
        replay: None,
        value: vec![],
    }
}

#[tokio::test]
async fn dead_letters_are_stored_once_and_found_by_their_receipt() {
    let database = Database::make().await;
    write(&database, vec![listed(letter(Some(2), 1), 0)]).await;
    // The same again, twice in one batch, beside a dead letter about a run of items; then with another count.
    let again = [(Some(2), 1), (Some(2), 1), (Some(10), 5)];
    write(&database, (1..).zip(again).map(|(at, (item, count))| listed(letter(item, count), at)).collect()).await;
    write(&database, vec![listed(letter(Some(10), 3), 4)]).await;
    let position = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset: 5, item: 0 };
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let found = ALL.dead_letters(&mut connection, &position).await.unwrap();
    let items: Vec<(i32, i32)> = found.iter().map(|one| (one.item, one.item_count)).collect();
    assert_eq!(items, [(2, 1), (10, 3)]);
    assert_eq!(found[0].reason.as_str(), "unit-invalid");
    let covered: Vec<i32> = (0..20).filter(|item| found.iter().any(|letter| letter.covers(*item))).collect();
    assert_eq!(covered, [2, 10, 11, 12]);
    assert_eq!(
        database.text("SELECT string_agg(letter_offset::text, ' ' ORDER BY item) FROM dead_letters").await,
        "2 4"
    );
    // The ledger counts items, not dead letters.
    write(&database, vec![ended(Outcome { items: 4, rejections: 4, ..outcome(5, 0) })]).await;
    assert_eq!(database.text("SELECT promised_rejections || '=' || dead_letters FROM ledger").await, "4=4");
}

/// A dead letter of a sink, at the position of the event of its first item.
pub(crate) fn of_sink(items: &Range<i32>) -> DeadLetter {
    DeadLetter {
        origin_topic: "readings".to_owned(),
        origin_offset: 100 + i64::from(items.start),
        stage: Stage::Sink,
        reason: Reason::RowRefused,
        ..letter(Some(items.start), items.end - items.start)
    }
}

/// The runs of items in the table.
const RUNS: &str = "SELECT coalesce(string_agg(item || '-' || item + item_count, ' ' ORDER BY item, item_count), '') FROM dead_letters";

#[tokio::test]
async fn items_that_sinks_refused_in_other_runs_are_listed_once() {
    let database = Database::make().await;
    let letters = [1..6, 1..4, 4..6, 3..5, 8..9, 0..10, 12..13].map(|items| of_sink(&items));
    let items = |order: &[usize]| order.iter().map(|at| listed(letters[*at].clone(), 0)).collect::<Vec<_>>();
    for (order, runs) in [
        (vec![0, 1, 2], "1-6"),
        (vec![1, 0], "1-4 4-6"),
        (vec![2, 0], "1-4 4-6"),
        (vec![2, 1, 0], "1-4 4-6"),
        (vec![3, 0, 1, 2], "1-3 3-5 5-6"),
        (vec![4, 3, 6, 5], "0-3 3-5 5-8 8-9 9-10 12-13"),
        (vec![5, 4, 3, 6], "0-10 12-13"),
    ] {
        for at_once in [true, false] {
            sqlx::query("TRUNCATE dead_letters").execute(&database.pool).await.unwrap();
            for part in if at_once { order.chunks(order.len()) } else { order.chunks(1) } {
                write(&database, items(part)).await;
            }
            assert_eq!(database.text(RUNS).await, runs, "{order:?} at once: {at_once}");
        }
    }
    // Another record, another topic, another topic epoch, and a dead letter of the normalizer about the same items.
    let elsewhere = ["raw.medisante:1:0:6", "raw.healthkit:1:0:5", "raw.medisante:2:0:5", "raw.medisante:1:1:5"];
    let elsewhere = (0..).zip(elsewhere).map(|(origin_offset, raw)| {
        listed(DeadLetter { raw_position: Some(raw.to_owned()), origin_offset, ..of_sink(&(0..10)) }, 9)
    });
    let others: Vec<Item> = elsewhere.chain([listed(letter(Some(0), 10), 9)]).collect();
    write(&database, others).await;
    assert_eq!(database.text(RUNS).await, "0-10 0-10 0-10 0-10 0-10 0-10 12-13");
}

pub(crate) fn document(content: &str) -> Document {
    Document {
        sha256: [u8::try_from(content.len()).unwrap(); 32],
        content_type: "application/pdf".to_owned(),
        content: content.as_bytes().to_vec(),
        provider: Provider::HealthKit,
        source: SourceName::parse("app").unwrap(),
        received_at: MAY,
        key_id: None,
    }
}

#[tokio::test]
async fn documents_of_a_batch_are_stored_by_their_hash() {
    let database = Database::make().await;
    let batch = || ["a", "bb", "a"].map(|content| filed(document(content))).into();
    write(&database, batch()).await;
    write(&database, batch()).await;
    let kept = "SELECT concat_ws(' ', convert_from(content, 'UTF8'), content_type, provider, source, \
        get_byte(sha256, 31), received_at::date) FROM documents ORDER BY sha256";
    assert_eq!(
        database.text(kept).await,
        "a application/pdf healthkit app 1 2024-05-01;bb application/pdf healthkit app 2 2024-05-01"
    );
}

#[tokio::test]
async fn dictionary_entries_are_looked_up_before_they_get_a_number() {
    let database = Database::make().await;
    for offset in 0..5 {
        // A new session each time, which has no entry in memory.
        write(&database, vec![read(pressure(1, offset))]).await;
    }
    write(&database, vec![read(Reading { code: coding("new"), device: Some(device("new")), ..reading(2, 5) })]).await;
    assert_eq!(database.text("SELECT coding_id::text FROM codings ORDER BY 1").await, "1;2;3;4");
    assert_eq!(database.text("SELECT description_id::text FROM device_descriptions ORDER BY 1").await, "1;2");
}
