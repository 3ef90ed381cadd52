//! Versions, duplicates, the ledger, fencing and bad values in the tables.

use schemas::{
    dead_letter::{DeadLetter, Stage},
    event::{Coded, Coding, Document, Outcome, Reading, SourceName, Status, Value, Waveform},
    format::{Provider, RawTopic},
    receipt::Position,
    rejection::Reason,
};
use sink::{
    batch::{Batch, Fence, Item, Source},
    copy::RowFault,
    row::Row,
    trace,
    write::{Session, WriteError},
};
use sqlx::Connection as _;

use super::{
    database::Database,
    sample::{DAY, MAY, SECOND, coding, ended, filed, key, listed, outcome, pressure, quantity, read, reading, topics},
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
async fn versions_in_any_order_end_in_the_same_row() {
    let versions = || -> Vec<Reading> {
        let corrected = Reading {
            content: [2; 16],
            value: quantity("6.1"),
            measured_from: Some(MAY + DAY),
            status: Status::Amended,
            ..reading(1, 5)
        };
        let newer_by_source =
            Reading { content: [3; 16], value: quantity("7"), source_version: Some(2), ..reading(1, 2) };
        let mut better_mapping = Reading { value: quantity("5.5"), ..reading(1, 0) };
        better_mapping.provenance.mapping_version = 2;
        vec![reading(1, 0), corrected, newer_by_source, better_mapping, reading(1, 9)]
    };
    let state = "SELECT t || concat_ws(' ', content, value_num, source_version, raw_offset, mapping_version, first_offset, \
        measured_from) FROM (SELECT 'r' t, * FROM readings UNION ALL SELECT 'v', * FROM reading_versions) x ORDER BY 1";
    let mut ends = Vec::new();
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [3, 1, 4, 0, 2]] {
        for batch in [1, 2, 5] {
            let database = Database::make().await;
            let ordered: Vec<Reading> = order.iter().map(|at| versions()[*at].clone()).collect();
            for chunk in ordered.chunks(batch) {
                write(&database, chunk.iter().cloned().map(read).collect()).await;
            }
            let end =
                database.text(state).await + &database.text("SELECT raw_offset::text FROM reading_duplicates").await;
            ends.push(end);
        }
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:#?}");
    assert!(ends[0].starts_with("r03030303"), "the source's own version decides: {}", ends[0]);
}

#[tokio::test]
async fn a_corrected_time_moves_the_row_and_entered_in_error_marks_it() {
    let database = Database::make().await;
    write(&database, vec![read(reading(1, 0))]).await;
    let corrected = Reading { content: [2; 16], measured_from: Some(MAY + DAY), ..reading(1, 1) };
    write(&database, vec![read(corrected)]).await;
    let seen = "SELECT measured_from::date || status FROM attributed_readings";
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
        "1 8480-6 85354-9 120 mmol/L {default-unit,out-of-range} never assigned;\
         2 8462-4 85354-9 80.0 mmol/L {default-unit,out-of-range} never assigned;\
         0 15074-8 5.50 mmol/L {default-unit} never assigned"
    );
    let receipt = database.text("SELECT receipt FROM attributed_readings WHERE component = 2").await;
    let position: Position = key().read(&receipt).unwrap();
    assert_eq!((position.offset, position.item, position.topic_epoch), (42, 0, 1));
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let traced = trace::readings(&mut connection, &position).await.unwrap();
    assert_eq!(traced.len(), 2);
    assert_eq!(traced[0].state, "current");
}

#[tokio::test]
async fn times_from_year_1_to_9999_and_long_numbers_are_kept() {
    let database = Database::make().await;
    let first =
        Reading { measured_from: Some(-62_135_596_800 * SECOND), value: quantity("-0.000010"), ..reading(1, 0) };
    let last = Reading {
        measured_from: Some(253_402_300_799_999_999),
        value: quantity("123456789012345678901234.5678"),
        ..reading(2, 1)
    };
    let zero = Reading { measured_from: None, value: quantity("0.00"), ..reading(3, 2) };
    let tens = Reading { value: quantity("100000000"), ..reading(4, 3) };
    let tiny = Reading { value: quantity("-1.50e-30"), ..reading(5, 4) };
    let huge = Reading { value: quantity("1.234e30"), ..reading(6, 5) };
    write(&database, [first, last, zero, tens, tiny, huge].map(read).into()).await;
    assert_eq!(
        database.text("SELECT concat_ws(' ', value_num, measured_from) FROM readings ORDER BY reading_id").await,
        "-0.000010 0001-01-01 00:00:00+00;123456789012345678901234.5678 9999-12-31 23:59:59.999999+00;0.00;\
         100000000 2024-05-01 00:00:00+00;-0.00000000000000000000000000000150 2024-05-01 00:00:00+00;\
         1234000000000000000000000000000 2024-05-01 00:00:00+00"
    );
    let longest = Reading { value: quantity(&format!("{}e-400", "9".repeat(400))), ..reading(7, 6) };
    let part = Reading { value: quantity("1e400"), ..reading(8, 7) };
    write(&database, [longest, part].map(read).into()).await;
    assert_eq!(database.count("SELECT count(*) FROM readings WHERE value_num > 0.999 AND value_num <= 1e400").await, 5);
}

#[tokio::test]
async fn numbers_are_the_ones_that_postgres_reads() {
    let database = Database::make().await;
    let mut texts: Vec<String> = ["1e30", "-1.5e-26", "0e-30", "12.34e1", "0.00012e2"].map(str::to_owned).into();
    for sign in ["", "-"] {
        for whole in ["0", "1", "12", "1234", "12345", "99999999", "100000000", "12340000", "007"] {
            for fraction in
                ["", ".0", ".1", ".01", ".001", ".0001", ".00001", ".1234", ".12345", ".00000000", ".10000000"]
            {
                texts.push(format!("{sign}{whole}{fraction}"));
            }
        }
    }
    let readings = (0..).zip(&texts).map(|(id, text)| Reading { value: quantity(text), ..reading(id, 0) });
    write(&database, readings.map(read).collect()).await;
    let differing = "SELECT string_agg(source_value, ' ') FROM readings
        WHERE value_num::text <> source_value::numeric::text OR scale(value_num) <> scale(source_value::numeric)";
    assert_eq!(database.text(differing).await, "");
    assert_eq!(database.count("SELECT count(*) FROM readings").await, i64::try_from(texts.len()).unwrap());
}

#[tokio::test]
async fn what_has_no_column_is_kept_as_json() {
    let database = Database::make().await;
    let odd = coding("back\\slash, \\u0000 and \"quotes\"");
    let coded = Value::Coded(Coded { coding: odd.clone(), text: Some("said".to_owned()) });
    let waveform = Value::Waveform(Waveform {
        origin: "0".to_owned(),
        unit: "mV".into(),
        period_ms: "4".to_owned(),
        factor: "0.5".to_owned(),
        dimensions: 1,
        samples: "1 2 E".to_owned(),
    });
    let mut panel = pressure(3, 2);
    panel.components[1].value = coded.clone();
    panel.components[1].source_codes = vec![coding("own")];
    let readings = [
        Reading { value: coded, source_codes: vec![coding("own")], ..reading(1, 0) },
        Reading { value: waveform, ..reading(2, 1) },
        panel,
    ];
    write(&database, readings.map(read).into()).await;
    let kept = "SELECT concat_ws(' ', extra #>> '{coding,code}', extra ->> 'text', extra #>> '{source_codes,0,code}',
        extra #>> '{waveform,period_ms}', components #>> '{1,x,coding,code}', components #>> '{1,x,source_codes,0,code}')
        FROM readings ORDER BY reading_id";
    let odd = odd.code;
    assert_eq!(database.text(kept).await, format!("{odd} said own;4;{odd} own"));
    let seen = "SELECT concat_ws(' ', code, value_text) FROM attributed_readings ORDER BY reading_id, component";
    let display = format!("what {odd} is");
    assert_eq!(database.text(seen).await, format!("15074-8 {display};15074-8 1 2 E;8480-6;8462-4 {display}"));
}

#[tokio::test]
async fn values_that_postgres_cannot_store_are_known_beforehand() {
    let fault = |reading: Reading| Row::new(reading, &key()).err().map(|(_, fault)| fault);
    let nul = |text: &str| Some(format!("{text}\0"));
    assert_eq!(fault(Reading { patient_claim: nul("x"), ..reading(1, 0) }), Some(RowFault::Nul));
    assert_eq!(fault(Reading { value: quantity("five"), ..reading(1, 0) }), Some(RowFault::Number));
    assert_eq!(fault(Reading { measured_from: Some(i64::MIN), ..reading(1, 0) }), Some(RowFault::Time));
    assert_eq!(fault(Reading { imprecise_until: Some(0), ..reading(1, 0) }), Some(RowFault::Time));
    let odd = Coding { code: "a\0b".into(), ..coding("own") };
    assert_eq!(fault(Reading { source_codes: vec![odd], ..reading(1, 0) }), Some(RowFault::Nul));
    let mut panel = pressure(1, 0);
    panel.components[0].value = quantity("five");
    assert_eq!(fault(panel), Some(RowFault::Number));
    assert_eq!(fault(reading(1, 0)), None);
}

#[tokio::test]
async fn of_two_writers_only_one_moves_the_offsets() {
    let database = Database::make().await;
    sqlx::query("INSERT INTO sink_offsets VALUES ('readings', 0, 0)").execute(&database.pool).await.unwrap();
    let fence = [Fence { place: (Source::Readings, 0), expected: 0, next: 1 }];
    let mut one = Session::open(&database.url).await.unwrap();
    let mut two = Session::open(&database.url).await.unwrap();
    let topics = topics();
    let batch = || Batch::new(0, vec![read(reading(1, 0))], fence.to_vec());
    let (mut first, mut second) = (batch(), batch());
    let (first, second) = tokio::join!(one.write(&topics, &mut first), two.write(&topics, &mut second));
    assert_eq!([&first, &second].iter().filter(|done| done.is_ok()).count(), 1);
    assert!([first, second].iter().any(|done| matches!(done, Err(WriteError::Fenced))));
    // An idle partition that was moved back is noticed as well.
    let idle = [Fence { place: (Source::Readings, 0), expected: 7, next: 7 }];
    let mut three = Session::open(&database.url).await.unwrap();
    let mut batch = Batch::new(0, Vec::new(), idle.to_vec());
    assert!(matches!(three.write(&topics, &mut batch).await, Err(WriteError::Fenced)));
    assert_eq!(database.count("SELECT next_offset FROM sink_offsets").await, 1);
}

fn letter(first_item: Option<i32>, item_count: i32) -> DeadLetter {
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
        content_hmac: None,
        raw_position: Some("raw.medisante:1:0:5".to_owned()),
        value: vec![],
    }
}

#[tokio::test]
async fn dead_letters_are_listed_once_and_found_by_their_receipt() {
    let database = Database::make().await;
    write(&database, vec![listed(letter(Some(2), 1), 0)]).await;
    // Again, twice in one batch, beside one about a run of items, and with another count.
    let again = [(Some(2), 1), (Some(2), 1), (Some(10), 5), (Some(10), 3)];
    write(&database, (1..).zip(again).map(|(at, (item, count))| listed(letter(item, count), at)).collect()).await;
    let position = Position { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset: 5, item: 0 };
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let found = trace::letters(&mut connection, &position).await.unwrap();
    let items: Vec<(i32, i32)> = found.iter().map(|one| (one.item, one.item_count)).collect();
    assert_eq!(items, [(2, 1), (10, 3)]);
    assert_eq!(found[0].reason.as_str(), "unit-invalid");
    let covered: Vec<i32> = (0..20).filter(|item| found.iter().any(|letter| letter.covers(*item))).collect();
    assert_eq!(covered, [2, 10, 11, 12]);
    assert_eq!(
        database.text("SELECT string_agg(letter_offset::text, ' ' ORDER BY item) FROM dead_letters").await,
        "2 4"
    );
    // The ledger counts items, not letters.
    write(&database, vec![ended(Outcome { items: 4, rejections: 4, ..outcome(5, 0) })]).await;
    assert_eq!(database.text("SELECT promised_rejections || '=' || dead_letters FROM ledger").await, "4=4");
}

#[tokio::test]
async fn documents_of_a_batch_are_kept_by_their_hash() {
    let database = Database::make().await;
    let document = |content: &str| Document {
        sha256: [content.len() as u8; 32],
        content_type: "application/pdf".to_owned(),
        content: content.as_bytes().to_vec(),
        provider: Provider::HealthKit,
        source: SourceName::parse("app").unwrap(),
        received_at: MAY,
        key_id: None,
    };
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
