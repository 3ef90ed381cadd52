//! Databases that refuse rows, statements or everything, and how the sink reacts.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use rdkafka::{
    Message,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use schemas::{
    dead_letter::DeadLetter,
    event::{Precision, Reading},
    format::RawTopic,
    receipt::ItemPosition,
};
use sink::SinkError;
use store::{
    migrate::{MIGRATIONS, SCHEMA_VERSION},
    trace::ListingLimits,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    database::Database,
    pipeline::{ROWS, World},
    sample::{coding, device, outcome, quantity, reading},
};

const LETTERS: &str = "SELECT count(*) FROM dead_letters";
/// The number of refused items, however many dead letters they share.
const ITEMS: &str = "SELECT coalesce(sum(item_count), 0)::bigint FROM dead_letters";

impl World {
    async fn sql(&self, statement: &str) {
        sqlx::raw_sql(statement).execute(&self.database.pool).await.unwrap();
    }

    /// Adds a trigger that raises this error for each reading that is inserted.
    async fn raise(&self, condition: &str, code: &str) {
        self.raise_when(condition, code, "CREATE TRIGGER raise BEFORE INSERT ON readings").await;
    }

    /// Adds a trigger that raises the error when the transaction commits.
    async fn raise_at_commit(&self, condition: &str, code: &str) {
        let when = "CREATE CONSTRAINT TRIGGER raise AFTER INSERT ON readings DEFERRABLE INITIALLY DEFERRED";
        self.raise_when(condition, code, when).await;
    }

    async fn raise_when(&self, condition: &str, code: &str, when: &str) {
        let function = format!(
            "CREATE SEQUENCE IF NOT EXISTS tries; CREATE OR REPLACE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF {condition} THEN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$; \
             {when} FOR EACH ROW EXECUTE FUNCTION raise()"
        );
        self.sql(&function).await;
    }

    /// Sets the maximum size of a dead letter.
    async fn limit_letters(&self, bytes: &str) {
        let admin: AdminClient<DefaultClientContext> = self.kafka.client().create().unwrap();
        let topic = self.topics.dead_letters();
        let limit = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", bytes);
        for done in admin.alter_configs(&[limit], &AdminOptions::new()).await.unwrap() {
            done.unwrap();
        }
    }

    /// Waits until dead letters about this many items are on the topic.
    async fn until_items_on_topic(&self, wanted: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.items_on_topic().len() < wanted {
            assert!(Instant::now() < deadline, "{} items", self.items_on_topic().len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The items that the dead letters on the topic are about, sorted.
    fn items_on_topic(&self) -> Vec<i32> {
        let letters = self.letters();
        let mut items: Vec<i32> =
            letters.iter().flat_map(|one| (0..one.item_count).map(|behind| one.item.unwrap() + behind)).collect();
        items.sort_unstable();
        items
    }

    /// Waits until all dead letters on the topic are read. Before that, a table may look right although it is not.
    async fn until_letters_are_read(&self) {
        let topic = self.topics.dead_letters();
        let read = format!("SELECT coalesce(sum(next_offset), 0)::bigint FROM sink_offsets WHERE topic = '{topic}'");
        self.until(&read, i64::try_from(self.letters_on_topic()).unwrap()).await;
    }

    /// For each of these items of the raw record of [`refuse`]: the number of dead letters in the table that `trace` finds.
    async fn letters_of(&self, items: Range<i32>) -> Vec<usize> {
        let position = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset: 900, item: 0 };
        let mut connection = self.database.pool.acquire().await.unwrap();
        let found =
            ListingLimits { per_kind_max: None, item: 0 }.dead_letters(&mut connection, &position).await.unwrap();
        items.map(|item| found.iter().filter(|letter| letter.covers(item)).count()).collect()
    }

    /// The number of messages on the topic of dead letters.
    fn letters_on_topic(&self) -> usize {
        self.letters().len()
    }

    /// The messages on the topic of dead letters.
    fn letters(&self) -> Vec<DeadLetter> {
        let mut client = self.kafka.client();
        let consumer: BaseConsumer =
            client.set("group.id", "count").set("auto.offset.reset", "earliest").create().unwrap();
        let topic = self.topics.dead_letters();
        let mut list = rdkafka::TopicPartitionList::new();
        let mut end = 0;
        for partition in 0..2 {
            end += consumer.fetch_watermarks(&topic, partition, Duration::from_secs(10)).unwrap().1;
            list.add_partition_offset(&topic, partition, rdkafka::Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut found = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while found.len() < usize::try_from(end).unwrap() && Instant::now() < deadline {
            let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
            let message = message.unwrap();
            let headers = message.headers().unwrap().iter().map(|header| (header.key, header.value.unwrap()));
            found.push(DeadLetter::read(headers, message.payload().unwrap_or_default()).unwrap());
        }
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_outage_and_not_a_bad_row() {
    let world = World::new().await;
    world.raise("true", "53100").await;
    world.readings(0, 5).await;
    refuse(&world, 0..1, |reading| reading.patient_claim = Some("a\0b".to_owned())).await;
    let running = world.start();
    world.until_waiting("SQLSTATE 53100").await;
    // An item that is refused in any case has no dead letter before the rest of its batch is written.
    assert_eq!(world.letters_on_topic(), 0);
    world.sql("DROP TRIGGER raise ON readings").await;
    world.until(ROWS, 5).await;
    world.until(LETTERS, 1).await;
    assert_eq!(world.letters_on_topic(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_reported_as_an_outage() {
    let world = World::new().await;
    let running = world.start();
    world.readings(0, 5).await;
    world.until(ROWS, 5).await;
    let name = &world.database.name;
    let throw_out = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on; {throw_out}");
    world.database.administer(&read_only).await;
    world.readings(5, 10).await;
    world.until_waiting("read-only").await;
    world.database.administer(&format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    world.until(ROWS, 10).await;
    assert_eq!(world.letters_on_topic(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_violation_is_tried_again_before_a_row_is_refused() {
    let world = World::new().await;
    world.raise("nextval('tries') <= 3", "23505").await;
    let running = world.start();
    world.readings(0, 1).await;
    world.until(ROWS, 1).await;
    assert_eq!(world.letters_on_topic(), 0);
    // If the violation persists, the row is bad.
    world.sql("DROP TRIGGER raise ON readings; ALTER TABLE readings ADD UNIQUE (content)").await;
    world.event(&world.topics.readings(), &reading(1, 1)).await;
    world.until(LETTERS, 1).await;
    assert_eq!(world.database.text("SELECT detail FROM dead_letters").await, "SQLSTATE 23505");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enum_value_that_the_database_lacks_is_waited_for() {
    let world = World::new().await;
    world.sql("ALTER TYPE time_precision RENAME VALUE 'nanosecond' TO 'later'").await;
    let running = world.start();
    world.event(&world.topics.readings(), &Reading { time_precision: Precision::Nanosecond, ..reading(0, 0) }).await;
    world.until_waiting("SQLSTATE 22P02").await;
    world.sql("ALTER TYPE time_precision RENAME VALUE 'later' TO 'nanosecond'").await;
    world.until(ROWS, 1).await;
    assert_eq!(world.letters_on_topic(), 0);
    running.stop().await;
}

#[tokio::test]
async fn every_enum_value_of_this_release_is_in_the_database() {
    use schemas::{event::Status, format::Format, format::Provider};
    let database = Database::make().await;
    let words = |name: &str| format!("SELECT unnest(enum_range(NULL::{name}))::text");
    let joined = |words: Vec<&str>| words.join(";");
    assert_eq!(database.text(&words("provider")).await, joined(Provider::ALL.iter().map(|one| one.as_str()).collect()));
    assert_eq!(
        database.text(&words("payload_format")).await,
        joined(Format::ALL.iter().map(|one| one.as_str()).collect())
    );
    assert_eq!(
        database.text(&words("reading_status")).await,
        joined(Status::ALL.iter().map(|one| one.as_str()).collect())
    );
    assert_eq!(
        database.text(&words("time_precision")).await,
        joined(Precision::ALL.iter().map(|one| one.as_str()).collect())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_version_are_waited_for() {
    let world = World::new().await;
    assert_eq!(MIGRATIONS.iter().map(|one| one.version).max(), Some(i64::from(SCHEMA_VERSION)));
    let running = world.start();
    world.readings(0, 5).await;
    world.until(ROWS, 5).await;
    let before = SCHEMA_VERSION - 1;
    world.sql(&format!("UPDATE schema_version SET version = {before}, compatible_from = {before}")).await;
    world.readings(5, 10).await;
    world.until_waiting("--migrate").await;
    // First the tables of a later release that this one may write, then tables that it may not write.
    let after = SCHEMA_VERSION + 1;
    world.sql(&format!("UPDATE schema_version SET version = {after}, compatible_from = {SCHEMA_VERSION}")).await;
    world.until(ROWS, 10).await;
    world.sql(&format!("UPDATE schema_version SET compatible_from = {after}")).await;
    world.readings(10, 15).await;
    world.until_waiting("upgrade this sink").await;
    assert_eq!(world.database.count(ROWS).await, 10);
    world.sql(&format!("UPDATE schema_version SET compatible_from = {SCHEMA_VERSION}")).await;
    world.until(ROWS, 15).await;
    assert_eq!(world.letters_on_topic(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_cannot_be_decoded_ends_the_sink_and_is_named() {
    let world = World::new().await;
    world.readings(0, 1).await;
    world.sql("ALTER TABLE schema_version ALTER version TYPE uuid USING gen_random_uuid()").await;
    let run = sink::run(world.config(), world.health(), CancellationToken::new());
    let ended = tokio::time::timeout(Duration::from_secs(30), run).await.expect("the sink did not end");
    assert!(matches!(ended, Err(SinkError::Defect(name)) if name == "column decode"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_database_url_is_reported_at_once() {
    let world = World::new().await;
    let mut config = world.config();
    config.database_url = "postgres://user:secret@host:no-port/x".to_owned();
    let run = sink::run(config, world.health(), CancellationToken::new());
    let ended = tokio::time::timeout(Duration::from_secs(30), run).await.expect("the sink did not end");
    let Err(error @ SinkError::Address(_)) = ended else { panic!("the sink ran") };
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_not_passed_while_kafka_refuses_its_dead_letter() {
    let world = World::new().await;
    world.sql("ALTER TABLE readings ADD CHECK (value_num <> 13)").await;
    world.limit_letters("100").await;
    let running = world.start();
    world.event(&world.topics.readings(), &Reading { value: quantity("13"), ..reading(0, 0) }).await;
    world.until_waiting("Kafka does not accept dead letters").await;
    let moved = "SELECT coalesce(sum(next_offset), 0)::bigint FROM sink_offsets WHERE topic LIKE '%.readings'";
    assert_eq!(world.database.count(moved).await, 0);
    world.limit_letters(schemas::topic::MESSAGE_BYTES_MAX).await;
    world.until(LETTERS, 1).await;
    world.until(moved, 1).await;
    assert_eq!(world.letters_on_topic(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_too_large_for_kafka_is_produced_without_its_value() {
    let world = World::new().await;
    world.sql("ALTER TABLE readings ADD CHECK (value_num <> 13)").await;
    world.limit_letters("2000").await;
    // Content that compression does not make small.
    let claim = Some((0..200).map(|_| Uuid::new_v4().to_string()).collect());
    let large = Reading { value: quantity("13"), patient_claim: claim, ..reading(0, 0) };
    world.event(&world.topics.readings(), &large).await;
    world.readings(1, 3).await;
    let running = world.start();
    world.until(LETTERS, 1).await;
    world.until(ROWS, 2).await;
    assert_eq!(world.letters().iter().map(|letter| letter.value.len()).collect::<Vec<_>>(), [0]);
    running.stop().await;
}

/// Produces readings of one payload that are spoilt, so that they are refused.
async fn refuse(world: &World, items: impl IntoIterator<Item = i32>, spoil: fn(&mut Reading)) {
    let spoilt = items.into_iter().map(|item| {
        let mut refused = reading(u128::from(item.unsigned_abs()) + 1_000, 900);
        refused.provenance.item = item;
        spoil(&mut refused);
        refused
    });
    world.events(&world.topics.readings(), spoilt).await;
}

/// `SINK_OUTAGE_SECONDS` sets how long Postgres refuses connections: some seconds in CI, ten minutes by hand.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_a_batch_that_waits_for_postgres_are_produced_once() {
    let seconds = std::env::var("SINK_OUTAGE_SECONDS").map_or(15, |seconds| seconds.parse().unwrap());
    let world = World::new().await;
    world.sql("ALTER TABLE readings ADD CHECK (value_num <> 13)").await;
    // Postgres refuses the first hundred; the sink itself refuses the second hundred.
    // Everything is written and the dead letters are produced, but the commit fails again and again.
    world.raise_at_commit("NEW.raw_offset < 5", "53100").await;
    refuse(&world, 0..100, |reading| reading.value = quantity("13")).await;
    refuse(&world, 100..200, |reading| reading.patient_claim = Some("a\0b".to_owned())).await;
    // Consecutive items are from different devices.
    refuse(&world, 200..250, |reading| {
        reading.value = quantity("13");
        reading.device = Some(device(&format!("meter-{}", reading.provenance.item % 2)));
    })
    .await;
    let all: Vec<i32> = (0..250).collect();
    world.readings(0, 5).await;
    let name = &world.database.name;
    let running = world.start_with(1_000);
    world.until_waiting("SQLSTATE 53100").await;
    world.until_items_on_topic(all.len()).await;
    let locks_out = format!(
        "ALTER DATABASE {name} ALLOW_CONNECTIONS false; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    );
    world.database.administer(&locks_out).await;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    world.database.administer(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    world.sql("DROP TRIGGER raise ON readings").await;
    world.until(ITEMS, i64::try_from(all.len()).unwrap()).await;
    world.until(ROWS, 5).await;
    world.until_ready().await;
    assert_eq!(world.items_on_topic(), all);
    // Consecutive items share one dead letter for each batch that they arrived in; the others have one each.
    let (runs, alone): (Vec<_>, Vec<_>) = world.letters().into_iter().partition(|letter| letter.item_count > 1);
    assert!(runs.len() < 20 && alone.len() < 70, "{} letters of runs, {} others", runs.len(), alone.len());
    assert!(runs.iter().all(|letter| letter.value.is_empty()) && alone.iter().all(|letter| !letter.value.is_empty()));
    assert!(runs.iter().all(|letter| letter.device == Some(device("meter-1").key)));
    let raw = Some("raw.medisante:1:0:900");
    assert!(runs.iter().chain(&alone).all(|letter| letter.raw_position.as_deref() == raw));
    assert_eq!(world.letters_of(0..250).await, [1; 250]);
    running.stop().await;
}

/// The dead letter about the items before them was produced already.
#[tokio::test(flavor = "multi_thread")]
async fn items_that_a_later_attempt_refuses_get_their_own_dead_letter() {
    let world = World::new().await;
    world.sql("ALTER TABLE readings ADD CHECK (value_num <> 13)").await;
    world.raise_at_commit("NEW.raw_offset < 5", "53100").await;
    refuse(&world, 0..10, |reading| reading.value = quantity("13")).await;
    refuse(&world, 10..20, |reading| reading.value = quantity("14")).await;
    world.readings(0, 5).await;
    let running = world.start_with(1_000);
    world.until_waiting("SQLSTATE 53100").await;
    world.until_items_on_topic(10).await;
    world.sql("ALTER TABLE readings ADD CHECK (value_num <> 14)").await;
    world.sql("DROP TRIGGER raise ON readings").await;
    world.until(ROWS, 5).await;
    world.until(ITEMS, 20).await;
    assert_eq!(world.items_on_topic(), (0..20).collect::<Vec<_>>());
    assert_eq!(world.letters_of(0..20).await, [1; 20]);
    running.stop().await;
}

/// An attempt whose dead letters were produced is rolled back, and the next sink forms other batches. Then everything is read
/// again into an older database, together with the dead letters of both.
#[tokio::test(flavor = "multi_thread")]
async fn items_that_are_refused_again_in_other_batches_are_listed_once() {
    let world = World::new().await;
    world.sql("ALTER TABLE readings ADD CHECK (value_num <> 13)").await;
    let dump = world.database.dump();
    world.raise_at_commit("NEW.raw_offset < 5", "53100").await;
    refuse(&world, 0..100, |reading| reading.value = quantity("13")).await;
    world.event(&world.topics.outcomes(), &outcome(900, 100)).await;
    world.readings(0, 5).await;
    let running = world.start_with(1_000);
    world.until_waiting("SQLSTATE 53100").await;
    world.until_items_on_topic(100).await;
    running.stop().await;
    assert_eq!(world.database.count(ITEMS).await, 0);

    for (messages, at_least) in [(7, 200), (1_000, 300)] {
        world.database.restore(&dump).await;
        let running = world.start_with(messages);
        world.until(ROWS, 5).await;
        world.until_items_on_topic(at_least).await;
        world.until_letters_are_read().await;
        assert_eq!(world.letters_of(0..100).await, [1; 100]);
        assert_eq!(
            world.database.text("SELECT promised_readings || '=' || rows || '+' || refused FROM ledger").await,
            "105=5+100"
        );
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dictionary_entries_of_stored_rows_exist_after_a_refusal() {
    let world = World::new().await;
    world.sql("ALTER TABLE readings ADD CHECK (value_num <> 13)").await;
    let running = world.start();
    for (id, value) in [(0, "1"), (1, "13"), (2, "2")] {
        let new = Reading { code: coding(&format!("new-{id}")), value: quantity(value), ..reading(id, 0) };
        world.event(&world.topics.readings(), &new).await;
    }
    world.until(ROWS, 2).await;
    for id in [3, 4] {
        let known = Reading { code: coding(&format!("new-{}", id - 3)), ..reading(id, 0) };
        world.event(&world.topics.readings(), &known).await;
    }
    world.until(ROWS, 4).await;
    let named = "SELECT c.code || ' ' || d.device_id FROM readings r LEFT JOIN codings c USING (coding_id) \
        LEFT JOIN device_descriptions d USING (description_id) ORDER BY reading_id";
    assert_eq!(world.database.text(named).await, "new-0 meter-1;new-2 meter-1;new-0 meter-1;new-1 meter-1");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_refused_readings_do_not_delay_others_for_long() {
    let world = World::new().await;
    world.sql("ALTER TABLE readings ADD CHECK (value_num <> 13)").await;
    refuse(&world, 0..8_000, |reading| reading.value = quantity("13")).await;
    world.readings(0, 5).await;
    let running = world.start_with(5_000);
    world.until("SELECT least(count(*), 1) FROM sink_offsets", 1).await;
    let begun = Instant::now();
    world.until(ROWS, 5).await;
    println!("8,000 refused readings held 5 good ones up for {:?}", begun.elapsed());
    // The limit allows for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(10), "delayed for {:?}", begun.elapsed());
    world.until(ITEMS, 8_000).await;
    assert_eq!(world.items_on_topic(), (0..8_000).collect::<Vec<_>>());
    assert!(world.letters_on_topic() < 100, "{} letters", world.letters_on_topic());
    running.stop().await;
}
