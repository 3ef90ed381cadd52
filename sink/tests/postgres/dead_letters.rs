//! The state of dead letters: what a replay refuses again, and what it resolves, in any order of arrival.

use std::{collections::BTreeSet, ops::Range};

use schemas::{
    dead_letter::{AboutPayload, DeadLetter},
    event::{Outcome, Reading},
    format::{Provider, RawTopic},
    receipt::ItemPosition,
    rejection::Reason,
};
use sink::{
    batch::Batch,
    item::{Item, Origin},
    write::Session,
};
use sqlx::{Connection as _, types::time::OffsetDateTime};
use store::{
    dead_letters::{self, LetterFilter, LetterId, LetterState},
    trace::{ListingLimits, Progress, TracedReading},
};

use super::{
    database::Database,
    locks::write_at_once,
    sample::{MAY, SECOND, device, ended, key, listed, outcome, read, reading, topics},
    store::{letter, of_sink, write},
};

/// Item, state, attempts and replay of each refused item; which items share a dead letter depends on the order of arrival.
const LETTERS: &str = "SELECT format('%s %s %s %s', i, state, attempts, replay) FROM dead_letters, \
    generate_series(item, item + item_count - 1) i ORDER BY stage, i, replay";
const EMPTY: &str = "TRUNCATE readings, reading_versions, reading_duplicates, outcomes, dead_letters";
const UNBALANCED: &str = "SELECT count(*) FROM ledger \
    WHERE promised_readings <> rows + superseded + duplicates + refused OR promised_rejections <> dead_letters";

/// The dead letter of the normalizer about these items, published by a replay.
fn replayed(items: &Range<i32>, replay: i32) -> DeadLetter {
    DeadLetter { replay: (replay > 0).then_some(replay), ..letter(Some(items.start), items.end - items.start) }
}

/// The outcome of the raw record of the dead letters.
fn ended_by(replay: i32, readings: i32, rejections: i32) -> Item {
    let replay = (replay > 0).then_some(replay);
    ended(Outcome { items: readings + rejections, rejections, replay, ..outcome(5, readings) })
}

/// The reading of an item of the raw record of the dead letters.
fn accepted(item: i32, replay: i32) -> Item {
    let mut reading = reading(u128::try_from(item).unwrap(), 5);
    reading.provenance.item = item;
    read(Reading { replay: (replay > 0).then_some(replay), ..reading })
}

fn sent_at(letter: DeadLetter, offset: i64) -> Item {
    let item = listed(letter, offset);
    Item { origin: Origin { timestamp: MAY + offset * SECOND, ..item.origin }, ..item }
}

/// All orders of the numbers below `count` in which each pair of `kept` stays in order.
fn orders(count: usize, kept: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for number in 0..count {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| (0..=order.len()).map(move |at| (order.clone(), at)))
            .map(|(mut order, at)| {
                order.insert(at, number);
                order
            })
            .collect();
    }
    let place = |order: &[usize], number: usize| order.iter().position(|one| *one == number);
    all.retain(|order| kept.iter().all(|(before, after)| place(order, *before) < place(order, *after)));
    all
}

/// Writes the items in all orders, each in a transaction of its own and all in one, and compares what is stored in the end.
async fn assert_ends_in(database: &Database, items: impl Fn() -> Vec<Item>, kept: &[(usize, usize)], wanted: &str) {
    let (mut session, topics) = (Session::open(&database.url).await.unwrap(), topics());
    for order in orders(items().len(), kept) {
        for at_once in [false, true] {
            sqlx::raw_sql(EMPTY).execute(&database.pool).await.unwrap();
            let mut all: Vec<Option<Item>> = items().into_iter().map(Some).collect();
            let ordered: Vec<Item> = order.iter().map(|at| all[*at].take().unwrap()).collect();
            let transactions =
                if at_once { vec![ordered] } else { ordered.into_iter().map(|item| vec![item]).collect() };
            for items in transactions {
                session.write(&topics, &mut Batch::new(0, items, Vec::new())).await.unwrap();
            }
            assert_eq!(database.text(LETTERS).await, wanted, "{order:?} at once: {at_once}");
            assert_eq!(database.count(UNBALANCED).await, 0, "{order:?} at once: {at_once}");
        }
    }
}

#[tokio::test]
async fn a_replay_resolves_the_rejections_that_it_does_not_repeat_in_any_order() {
    let database = Database::make().await;
    let accepts = || vec![listed(replayed(&(2..3), 0), 0), ended_by(0, 0, 1), ended_by(1, 1, 0), accepted(2, 1)];
    assert_ends_in(&database, accepts, &[], "2 resolved 1 0").await;

    // The letters of one record are in one partition, so they keep their order.
    let refuses = || {
        let letters = [(replayed(&(2..3), 0), 0), (replayed(&(2..3), 7), 1)].map(|(letter, at)| listed(letter, at));
        letters.into_iter().chain([ended_by(0, 0, 1), ended_by(7, 0, 1)]).collect()
    };
    assert_ends_in(&database, refuses, &[(0, 1)], "2 open 2 7").await;

    // Of the items 1 to 4, item 3 is accepted. The attempts of item 4 are counted on, although its dead letter is a new one.
    let divides = || {
        let letters = [(1..5, 0), (1..3, 7), (4..5, 7)];
        let letters = (0..).zip(letters).map(|(at, (items, replay))| listed(replayed(&items, replay), at));
        letters.chain([ended_by(7, 1, 3), accepted(3, 7)]).collect()
    };
    assert_ends_in(&database, divides, &[(0, 1), (0, 2), (1, 2)], "1 open 2 7;2 open 2 7;3 resolved 1 0;4 open 2 7")
        .await;

    // The payload was refused as a whole, and now an item of it is.
    let reads = || vec![listed(letter(None, 1), 0), listed(replayed(&(3..4), 7), 1), ended_by(7, 0, 1)];
    assert_ends_in(&database, reads, &[(0, 1)], "-1 resolved 1 0;3 open 2 7").await;
}

#[tokio::test]
async fn a_replay_resolves_what_sinks_refused_where_they_accept_it_now() {
    let database = Database::make().await;
    let of = |items: Range<i32>, replay: i32| {
        let origin_offset = i64::from(200 + replay);
        DeadLetter { replay: (replay > 0).then_some(replay), origin_offset, ..of_sink(&items) }
    };
    let accepts = || vec![listed(of(1..6, 0), 0), accepted(3, 7), ended_by(7, 5, 0)];
    assert_ends_in(&database, accepts, &[], "1 open 1 0;2 open 1 0;3 resolved 1 0;4 open 1 0;5 open 1 0").await;

    // The reading is stored from another item of the payload, so that the item is a duplicate.
    let duplicates = || {
        let mut other = reading(3, 5);
        other.provenance.item = 3;
        let first = Reading { replay: None, ..reading(3, 5) };
        vec![read(first), listed(of(3..4, 0), 0), read(Reading { replay: Some(7), ..other }), ended_by(7, 2, 0)]
    };
    assert_ends_in(&database, duplicates, &[(0, 2)], "3 resolved 1 0").await;

    // The sinks refuse some of the items again, and the normalizer refuses another one now.
    let refuses = || {
        let letters = [of(1..5, 0), of(3..4, 7), replayed(&(4..5), 7)];
        let letters = (0..).zip(letters).map(|(at, letter)| listed(letter, at));
        letters.chain([accepted(1, 7), ended_by(7, 3, 1)]).collect()
    };
    let wanted = "4 open 1 7;1 resolved 1 0;2 open 1 0;3 open 2 7;4 resolved 1 0";
    assert_ends_in(&database, refuses, &[(0, 1), (0, 2), (1, 2)], wanted).await;
}

#[tokio::test]
async fn a_refusal_by_a_normalizer_resolves_what_sinks_refused_before_its_outcome_is_stored() {
    let database = Database::make().await;
    let state = async |wanted: &str| assert_eq!(database.text(LETTERS).await, wanted);
    let whole = |letter: DeadLetter| DeadLetter { item: None, item_count: 1, origin_offset: 99, ..letter };
    write(&database, vec![listed(of_sink(&(3..5)), 0), listed(whole(of_sink(&(0..1))), 1)]).await;
    // Of the same attempt, and of a payload without items.
    write(&database, vec![listed(replayed(&(4..5), 0), 2), listed(whole(replayed(&(0..1), 7)), 3)]).await;
    state("-1 open 2 7;4 open 1 0;-1 open 1 0;3 open 1 0;4 open 1 0").await;
    write(&database, vec![listed(replayed(&(4..5), 7), 4)]).await;
    state("-1 open 2 7;4 open 2 7;-1 open 1 0;3 open 1 0;4 resolved 1 0").await;
}

#[tokio::test]
async fn items_of_two_records_are_resolved_at_once() {
    let database = Database::make().await;
    let elsewhere = DeadLetter { raw_position: Some("raw.medisante:1:0:6".to_owned()), ..of_sink(&(1..2)) };
    write(&database, vec![listed(of_sink(&(3..4)), 0), listed(elsewhere, 1)]).await;
    let mut second = reading(9, 6);
    second.provenance.item = 1;
    write(&database, vec![accepted(3, 7), read(Reading { replay: Some(7), ..second })]).await;
    assert_eq!(database.text(LETTERS).await, "1 resolved 1 0;3 resolved 1 0");
}

#[tokio::test]
async fn only_a_later_attempt_counts_and_opens_a_dead_letter_again() {
    let database = Database::make().await;
    let one = |replay, offset| vec![sent_at(replayed(&(2..3), replay), offset)];
    write(&database, one(0, 0)).await;
    let state = async |wanted: &str| assert_eq!(database.text(LETTERS).await, wanted);
    let discard =
        "UPDATE dead_letters SET state = 'discarded', state_at = now(), state_by = 'nina', state_reason = 'known'";
    sqlx::raw_sql(discard).execute(&database.pool).await.unwrap();
    // The normalizer was killed, and produces the dead letter again.
    write(&database, one(0, 1)).await;
    state("2 discarded 1 0").await;
    write(&database, one(1, 2)).await;
    state("2 discarded 2 1").await;
    let by = "SELECT concat_ws(' ', state_by, state_reason) FROM dead_letters";
    assert_eq!(database.text(by).await, "nina known");
    let other = DeadLetter { reason: Reason::ValueInvalid, detail: "no number".to_owned(), ..replayed(&(2..3), 2) };
    write(&database, vec![sent_at(other, 3)]).await;
    state("2 open 3 2").await;
    let content = "SELECT concat_ws(' ', reason, detail, letter_offset, state_by, extract(epoch FROM last_attempt_at - \
        first_attempt_at)::integer) FROM dead_letters";
    assert_eq!(database.text(content).await, "value-invalid no number 3 3");
    // A dead letter of an earlier attempt changes nothing, and one that states more attempts is believed.
    write(&database, one(1, 4)).await;
    state("2 open 3 2").await;
    write(&database, vec![listed(DeadLetter { attempt: 9, ..replayed(&(2..3), 5) }, 5)]).await;
    state("2 open 9 5").await;
    sqlx::raw_sql(discard).execute(&database.pool).await.unwrap();
    write(&database, vec![ended_by(6, 1, 0)]).await;
    state("2 resolved 9 5").await;
    assert_eq!(database.text(by).await, "");
    write(&database, one(7, 6)).await;
    state("2 open 10 7").await;
}

#[tokio::test]
async fn a_dead_letter_has_the_receipt_that_the_sender_got() {
    let database = Database::make().await;
    let position = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset: 5, item: 0 };
    let samples = |items: Range<i32>| DeadLetter {
        origin_topic: "raw.healthkit".to_owned(),
        raw_position: Some("raw.healthkit:1:0:5".to_owned()),
        about: AboutPayload { provider: Some(Provider::HealthKit), ..letter(None, 1).about },
        ..letter(Some(items.start), items.end - items.start)
    };
    let unknown = DeadLetter { raw_position: None, about: AboutPayload::default(), ..of_sink(&(0..1)) };
    let letters = [letter(Some(2), 1), samples(2..4), unknown];
    write(&database, (0..).zip(letters).map(|(at, letter)| listed(letter, at)).collect()).await;
    let receipts = [position, ItemPosition { topic: RawTopic::HealthKit, item: 2, ..position }];
    let receipts = receipts.map(|position| key().issue(&position));
    let known = "SELECT concat_ws(' ', coalesce(receipt, '-'), source, credential, correlation_id, format, provider) FROM dead_letters \
        ORDER BY letter_offset";
    let [of_payload, of_item] = receipts;
    let request = "portal key-1 order-7 standard-json";
    assert_eq!(database.text(known).await, format!("{of_payload} {request} medisante;{of_item} {request} healthkit;-"));
    // Of items that are divided, each part keeps the receipt.
    let sink = DeadLetter { origin_topic: "readings".to_owned(), ..of_sink(&(2..6)) };
    let sink = DeadLetter { raw_position: samples(2..4).raw_position, about: samples(2..4).about, ..sink };
    let again = DeadLetter { replay: Some(3), ..sink.clone() };
    write(&database, vec![listed(sink, 7)]).await;
    write(&database, vec![listed(DeadLetter { item: Some(4), item_count: 1, ..again }, 8)]).await;
    let parts = "SELECT concat_ws(' ', item, receipt) FROM dead_letters WHERE stage = 'sink' AND receipt IS NOT NULL ORDER BY item";
    assert_eq!(database.text(parts).await, format!("2 {of_item};4 {of_item};5 {of_item}"));
}

/// A dead letter and what resolves it may be written by two sinks.
#[tokio::test]
async fn a_sink_that_resolves_a_dead_letter_waits_for_one_that_writes_it_and_the_reverse() {
    for is_reversed in [false, true] {
        for is_of_sink in [false, true] {
            let database = Database::make().await;
            let pair = if is_of_sink {
                write(&database, vec![ended_by(7, 1, 0)]).await;
                [listed(of_sink(&(2..3)), 0), accepted(2, 7)]
            } else {
                [listed(replayed(&(2..3), 0), 0), ended_by(7, 1, 0)]
            };
            let [letter, other] = pair;
            write_at_once(&database, if is_reversed { [other, letter] } else { [letter, other] }).await;
            assert_eq!(
                database.text(LETTERS).await,
                "2 resolved 1 0",
                "reversed: {is_reversed}, of a sink: {is_of_sink}"
            );
        }
    }
}

#[tokio::test]
async fn a_withdrawn_reading_is_traced_as_withdrawn_and_is_not_waited_for() {
    let database = Database::make().await;
    let position = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset: 5, item: 0 };
    write(&database, vec![accepted(1, 0), accepted(2, 0), ended_by(0, 2, 0)]).await;
    let mut withdrawn = reading(2, 5);
    (withdrawn.provenance.item, withdrawn.withdrawn, withdrawn.replay) = (2, true, Some(7));
    write(&database, vec![read(withdrawn), listed(replayed(&(2..3), 7), 0)]).await;
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let progress = Progress::load(&mut connection, &position).await.unwrap();
    let states = |progress: &Progress| -> Vec<(String, i64)> {
        progress.readings.iter().map(|count| (count.state.clone(), count.readings)).collect()
    };
    assert_eq!(states(&progress), [("current".to_owned(), 1), ("withdrawn".to_owned(), 1)]);
    assert!(!progress.is_complete(), "the outcome of the mapping before counts the reading");
    write(&database, vec![ended_by(7, 1, 1)]).await;
    let progress = Progress::load(&mut connection, &position).await.unwrap();
    assert!(progress.is_complete());
    assert_eq!(database.count(UNBALANCED).await, 0);
    let traced = traced(&database, &position).await;
    assert_eq!(traced, [(1, "current".to_owned()), (2, "withdrawn".to_owned())]);

    // A resolved dead letter is shown, and is not counted.
    write(&database, vec![accepted(2, 8), ended_by(8, 2, 0)]).await;
    let progress = Progress::load(&mut connection, &position).await.unwrap();
    assert!(progress.is_complete() && progress.dead_letters[0].state == "resolved");
}

/// The items and states of the readings of a payload.
async fn traced(database: &Database, position: &ItemPosition) -> Vec<(i32, String)> {
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let mut found = Vec::new();
    let limits = ListingLimits { per_kind_max: None, item: 0 };
    let keep = |reading: TracedReading| {
        found.push((reading.item, reading.state));
        Ok::<(), sqlx::Error>(())
    };
    limits.readings(&mut connection, position, keep).await.unwrap();
    found
}

#[tokio::test]
async fn dead_letters_are_listed_by_their_properties_and_discarded_together_or_not_at_all() {
    let database = Database::make().await;
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let device = device("meter-1").key;
    let of_device = DeadLetter { device: Some(device), ..replayed(&(3..4), 0) };
    let letters = [replayed(&(2..3), 0), of_device, of_sink(&(4..6))];
    write(&database, (0..).zip(letters).map(|(at, letter)| sent_at(letter, at)).collect()).await;
    let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(MAY / SECOND + seconds).unwrap();
    let all = LetterFilter { states: LetterState::UNSETTLED.to_vec(), ..LetterFilter::default() };
    let text = |text: &str| Some(text.to_owned());
    for (filter, items) in [
        (all.clone(), vec![4, 3, 2]),
        (LetterFilter { reason: text("row-refused"), ..all.clone() }, vec![4]),
        (LetterFilter { device_keys: Some(vec![device]), ..all.clone() }, vec![3]),
        (LetterFilter { provider: text("medisante"), ..all.clone() }, vec![4, 3, 2]),
        (LetterFilter { provider: text("healthkit"), ..all.clone() }, vec![]),
        (LetterFilter { source: text("nobody"), ..all.clone() }, vec![]),
        (LetterFilter { since: Some(at(1)), until: Some(at(2)), ..all.clone() }, vec![3]),
        (LetterFilter { states: vec![LetterState::Resolved], ..all.clone() }, vec![]),
    ] {
        let found = dead_letters::list(&mut connection, &filter, 10).await.unwrap();
        assert_eq!(found.iter().map(|letter| letter.id.item).collect::<Vec<_>>(), items, "{filter:?}");
    }
    let found = dead_letters::list(&mut connection, &all, 2).await.unwrap();
    let ids: Vec<LetterId> = found.into_iter().map(|letter| letter.id).collect();
    assert_eq!(dead_letters::get(&mut connection, &ids[0]).await.unwrap().unwrap().item_count, 2);
    write(&database, vec![accepted(4, 7), accepted(5, 7)]).await;
    assert_eq!(dead_letters::discard(&mut connection, &ids, "nina", "known").await.unwrap(), 1);
    assert_eq!(database.count("SELECT count(*) FROM dead_letters WHERE state = 'discarded'").await, 0);
    assert_eq!(dead_letters::discard(&mut connection, &ids[1..], "nina", "known").await.unwrap(), 1);
    let state = "SELECT concat_ws(' ', item, state_by, state_reason) FROM dead_letters WHERE state = 'discarded'";
    assert_eq!(database.text(state).await, "3 nina known");

    // A redrive that publishes nothing about a dead letter opens it again, and counts.
    let of_sink =
        dead_letters::list(&mut connection, &LetterFilter { states: LetterState::ALL.to_vec(), ..all }, 10).await;
    let of_sink = of_sink.unwrap();
    let records = of_sink.iter().filter_map(|letter| letter.raw_record).collect();
    let ids: Vec<LetterId> = of_sink.into_iter().map(|letter| letter.id).collect();
    dead_letters::mark_redriven(&mut connection, &ids, "otto").await.unwrap();
    let states = "SELECT concat_ws(' ', item, state, attempts, replay) FROM dead_letters ORDER BY item";
    assert_eq!(database.text(states).await, "2 redriven 1 0;3 discarded 1 0;4 resolved 1 0");
    // Nothing counts for a record that no longer exists.
    let none = BTreeSet::new();
    dead_letters::end_redrive(&mut connection, (&none, &records), (9, "otto")).await.unwrap();
    assert_eq!(database.text(states).await, "2 open 1 0;3 discarded 1 0;4 resolved 1 0");
    // What this redrive has settled already, and what is marked again, counts once.
    for _ in 0..2 {
        dead_letters::mark_redriven(&mut connection, &ids, "otto").await.unwrap();
        dead_letters::end_redrive(&mut connection, (&records, &none), (9, "otto")).await.unwrap();
        assert_eq!(database.text(states).await, "2 open 2 9;3 discarded 1 0;4 resolved 1 0");
    }
}

/// The queries of `find` and `dead-letters` read no table of readings or dead letters as a whole.
#[tokio::test]
async fn the_queries_of_operators_use_indexes() {
    let database = Database::make().await;
    let fill = "INSERT INTO dead_letters (origin_topic, origin_partition, origin_offset, item, stage, reason, detail, topic_epoch, \
            letter_partition, letter_offset, state, device_key, raw_topic, raw_partition, raw_offset) \
        SELECT 'raw.medisante', 0, n, -1, 'normalizer', 'empty', '', 0, 0, n, CASE WHEN n % 1000 = 0 THEN 'open' ELSE 'resolved' END, \
            gen_random_uuid(), 'raw.medisante', 0, n FROM generate_series(1, 20000) n; \
        INSERT INTO device_commands (topic_epoch, raw_partition, raw_offset, device_key, command, patient_id, received_at, source, \
            mapping_version, verdict) \
        SELECT 0, 0, n, gen_random_uuid(), 'assign', 'p' || n, now(), 's', 1, 'applied' FROM generate_series(1, 20000) n; \
        ANALYZE dead_letters, device_commands";
    sqlx::raw_sql(fill).execute(&database.pool).await.unwrap();
    let key = uuid::Uuid::nil();
    for (statement, index) in [
        (
            "SELECT FROM dead_letters WHERE state = ANY('{open,redriven}') AND reason = 'empty'".to_owned(),
            "dead_letters_open",
        ),
        (
            format!(
                "SELECT FROM dead_letters WHERE state = ANY('{{open,discarded}}') AND device_key = ANY('{{{key}}}')"
            ),
            "dead_letters_device",
        ),
        (
            "SELECT FROM dead_letters WHERE raw_offset = 7 AND raw_partition = 0 AND raw_topic = 'raw.medisante'"
                .to_owned(),
            "dead_letters_raw",
        ),
        ("SELECT device_key FROM device_commands WHERE patient_id = 'p7'".to_owned(), "device_commands_patient"),
    ] {
        let plan: Vec<String> =
            sqlx::query_scalar(&format!("EXPLAIN {statement}")).fetch_all(&database.pool).await.unwrap();
        assert!(plan.iter().any(|line| line.contains(index)), "{plan:#?}");
    }
}
