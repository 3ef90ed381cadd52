//! From topic to table, through kills, restored dumps and messages that cannot be decoded.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};
use schemas::{
    codec::{Event, encode},
    event::Assignment,
    topic::Topics,
};
use service::{
    health::{Health, StageHealth, StageState},
    kafka::KafkaSettings,
    topics::{self, Size},
};
use sink::{BatchLimits, SinkConfig};
use store::{
    migrate::migrate,
    skip::{self, EventPosition, Gap, Requested},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    database::Database,
    sample::{MAY, assignment, key, outcome, quantity, reading},
};

pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) kafka: KafkaSettings,
    pub(crate) topics: Topics,
    producer: FutureProducer,
    health: Health,
}

pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = Database::make().await;
        let kafka = KafkaSettings::new(database.embedded.kafka_bootstrap().unwrap());
        let topics = Topics::new(&format!("{}.", database.name));
        topics::apply(&kafka.client(), &topics, Size { partitions: 2, replication: 1 }).await.unwrap();
        let producer = kafka.producer().create().unwrap();
        Self { database, kafka, topics, producer, health: Health::new() }
    }

    pub(crate) fn config(&self) -> SinkConfig {
        SinkConfig {
            kafka: self.kafka.clone(),
            topics: self.topics.clone(),
            database_url: self.database.url.clone(),
            group: format!("sink-{}", self.topics.readings()),
            batch: BatchLimits { messages: 100, ..BatchLimits::default() },
            receipt_key: key(),
        }
    }

    pub(crate) fn health(&self) -> StageHealth {
        self.health.stage("sink")
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with(100)
    }

    /// Starts a sink with batches of this many messages.
    pub(crate) fn start_with(&self, messages: usize) -> Running {
        let batch = BatchLimits { messages, ..BatchLimits::default() };
        start(SinkConfig { batch, ..self.config() }, self.health())
    }

    pub(crate) async fn put(&self, topic: &str, device: &str, value: &[u8]) {
        self.producer
            .send(FutureRecord::to(topic).key(device).payload(value), Duration::from_secs(10))
            .await
            .map_err(|(error, _)| error)
            .unwrap();
    }

    /// Produces many events without waiting for each.
    pub(crate) async fn events<E: Event>(&self, topic: &str, events: impl Iterator<Item = E>) {
        let send = |event: E| {
            let value = encode(&event);
            self.producer.send_result(FutureRecord::to(topic).key("device").payload(&value)).map_err(|(error, _)| error)
        };
        for sent in events.map(send).collect::<Vec<_>>() {
            sent.unwrap().await.unwrap().map_err(|(error, _)| error).unwrap();
        }
    }

    async fn put_into(&self, topic: &str, partition: i32, value: Option<&[u8]>) {
        let mut record = FutureRecord::<str, [u8]>::to(topic).partition(partition);
        record.payload = value;
        self.producer.send(record, Duration::from_secs(10)).await.map_err(|(error, _)| error).unwrap();
    }

    /// Deletes records, as retention does.
    async fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let admin: AdminClient<DefaultClientContext> = self.kafka.client().create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
        admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    pub(crate) async fn event<E: Event>(&self, topic: &str, event: &E) {
        self.put(topic, "device", &encode(event)).await;
    }

    pub(crate) async fn readings(&self, from: u16, to: u16) {
        for id in from..to {
            self.event(&self.topics.readings(), &reading(id.into(), id.into())).await;
            self.event(&self.topics.outcomes(), &outcome(id.into(), 1)).await;
        }
    }

    /// A count; -1 while the database is being restored.
    async fn look(&self, statement: &str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.database.pool).await.unwrap_or(-1)
    }

    pub(crate) async fn until(&self, statement: &str, wanted: i64) {
        let waited = tokio::time::timeout(Duration::from_secs(40), async {
            while self.look(statement).await != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if waited.await.is_err() {
            let got = self.look(statement).await;
            panic!("{statement} is {got}, not {wanted}; the stage reports {:?}", self.health.stages());
        }
    }

    pub(crate) async fn until_ready(&self) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while self.health.stages()["sink"].waiting.is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "still waiting: {:?}", self.health.stages());
    }

    pub(crate) async fn until_waiting(&self, part: &str) {
        until_said(&self.health, part, |sink| sink.waiting).await;
    }

    async fn until_degraded(&self, part: &str) {
        until_said(&self.health, part, |sink| sink.degraded).await;
    }

    /// Requests a skip, as `device-manager skip` does.
    async fn skip(&self, topic: &str, partition: i32, offset: i64) -> Requested {
        let mut connection = self.database.pool.acquire().await.unwrap();
        skip::request(&mut connection, EventPosition { topic, partition, offset }, "a test").await.unwrap()
    }

    async fn next_offset(&self, topic: &str, partition: i32) -> i64 {
        let statement = "SELECT next_offset FROM sink_offsets WHERE topic = $1 AND partition = $2";
        let row = sqlx::query_scalar(statement).bind(topic).bind(partition).fetch_optional(&self.database.pool);
        row.await.unwrap().unwrap_or(-1)
    }

    async fn until_next_offset(&self, topic: &str, partition: i32, wanted: i64) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while self.next_offset(topic, partition).await != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "{topic}:{partition} is not at {wanted}: {:?}", self.health.stages());
    }
}

/// Waits until a sink reports this.
async fn until_said(health: &Health, part: &str, what: fn(StageState) -> Option<String>) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !what(health.stages()["sink"].clone()).is_some_and(|reason| reason.contains(part)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{part} was never reported: {:?}", health.stages());
}

/// Runs a sink.
fn start(config: SinkConfig, health: StageHealth) -> Running {
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    Running { shutdown, task: tokio::spawn(async move { sink::run(config, health, stop).await.unwrap() }) }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

pub(crate) const ROWS: &str = "SELECT count(*) FROM readings";

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_stored_once_despite_restarts_and_a_restored_dump() {
    let world = World::new().await;
    let running = world.start();
    world.readings(0, 50).await;
    world.event(&world.topics.assignments(), &assignment(0, Some("anna"), MAY - 1)).await;
    world.until(ROWS, 50).await;
    world.until("SELECT count(*) FROM attributed_readings WHERE patient_id = 'anna'", 50).await;
    running.stop().await;
    let dump = world.database.dump();

    // Kafka's committed offsets are not used: the next sink continues from the offsets in Postgres.
    let running = world.start();
    world.readings(50, 80).await;
    world.until(ROWS, 80).await;

    // The dump is restored while a sink runs. Nothing notifies the sink.
    world.database.restore(&dump).await;
    world.until(ROWS, 80).await;
    world
        .until("SELECT coalesce(sum(promised_readings - rows - duplicates - refused), -1)::bigint FROM ledger", 0)
        .await;
    running.stop().await;

    // The dump is restored while no sink runs.
    world.database.restore(&dump).await;
    assert_eq!(world.database.count(ROWS).await, 50);
    let running = world.start();
    world.until(ROWS, 80).await;
    assert_eq!(world.database.count("SELECT count(*) FROM reading_duplicates").await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_become_dead_letters_and_the_others_become_rows() {
    let world = World::new().await;
    let readings = world.topics.readings();
    world.readings(0, 3).await;
    // The sink itself detects U+0000. Only Postgres detects the violation of a constraint that this test adds.
    let mut nul = reading(900, 900);
    nul.patient_claim = Some("a\0b".to_owned());
    world.event(&readings, &nul).await;
    sqlx::query("ALTER TABLE readings ADD CHECK (value_num <> 13)").execute(&world.database.pool).await.unwrap();
    let mut refused = reading(901, 901);
    refused.value = quantity("13");
    world.event(&readings, &refused).await;
    for offset in [900, 901] {
        world.event(&world.topics.outcomes(), &outcome(offset, 1)).await;
    }
    world.readings(3, 6).await;
    let running = world.start();
    world.until(ROWS, 6).await;
    world.until("SELECT count(*) FROM dead_letters", 2).await;
    assert_eq!(
        world
            .database
            .text("SELECT reason || ' ' || coalesce(raw_offset::text, '-') FROM dead_letters ORDER BY 1")
            .await,
        "row-refused 900;row-refused 901"
    );
    let balance = "SELECT sum(promised_readings - rows - superseded - duplicates - refused)::bigint FROM ledger";
    world.until(balance, 0).await;
    assert_eq!(world.database.count("SELECT refused FROM ledger").await, 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_schema_is_waited_for_and_never_dead_lettered() {
    let world = World::new().await;
    let running = world.start();
    // What an older release wrote: without the last field, which is an empty array here, one byte.
    let mut schema: serde_json::Value = serde_json::from_str(schemas::event::Outcome::SCHEMA).unwrap();
    schema["fields"].as_array_mut().unwrap().pop().unwrap();
    let older = schema.to_string();
    let foreign = schemas::codec::EventSchema::parse("foreign", older.clone().leak()).unwrap();
    let mut message = encode(&outcome(7, 1));
    message[2..10].copy_from_slice(&foreign.fingerprint.0);
    assert_eq!(message.pop(), Some(0));
    world.put(&world.topics.outcomes(), "device", &message).await;
    world.until_degraded(&format!("its schema {} is not published yet", foreign.fingerprint)).await;
    // Everything else continues.
    world.event(&world.topics.readings(), &reading(1, 1)).await;
    world.until(ROWS, 1).await;
    assert_eq!(world.database.count("SELECT count(*) FROM dead_letters").await, 0);
    world.put(&world.topics.schemas(), &foreign.fingerprint.to_string(), older.as_bytes()).await;
    world.until("SELECT count(*) FROM outcomes WHERE first_offset = 7", 1).await;
    world.until_ready().await;
    assert_eq!(world.health.stages()["sink"].degraded, None);
    running.stop().await;
}

/// A sink that ignored the field would store the row without its value, permanently.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_an_unknown_field_is_waited_for_even_if_its_schema_is_published() {
    let world = World::new().await;
    let running = world.start();
    let mut schema: serde_json::Value = serde_json::from_str(schemas::event::Outcome::SCHEMA).unwrap();
    let later = serde_json::json!({"name": "later", "type": "int", "default": 0});
    schema["fields"].as_array_mut().unwrap().push(later);
    let newer = schema.to_string();
    let foreign = schemas::codec::EventSchema::parse("foreign", newer.clone().leak()).unwrap();
    world.put(&world.topics.schemas(), &foreign.fingerprint.to_string(), newer.as_bytes()).await;
    let mut message = encode(&outcome(7, 1));
    message[2..10].copy_from_slice(&foreign.fingerprint.0);
    message.push(0);
    world.put(&world.topics.outcomes(), "device", &message).await;
    world.until_degraded("it does not know its field Outcome.later").await;
    world.event(&world.topics.readings(), &reading(1, 1)).await;
    world.until(ROWS, 1).await;
    assert_eq!(world.database.count("SELECT count(*) FROM outcomes").await, 0);
    assert_eq!(world.database.count("SELECT count(*) FROM dead_letters").await, 0);
    running.stop().await;
}

/// Neither foreign bytes nor missing headers ever become a dead letter by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_blocks_its_partition_only_until_it_is_skipped() {
    let world = World::new().await;
    let (readings, letters) = (world.topics.readings(), world.topics.dead_letters());
    // A skip of another record does not apply to this one, neither before nor after the sink reaches it.
    assert_eq!(world.skip(&readings, 0, 0).await, Requested::NeverAssigned, "it was not assigned to a sink yet");
    let running = world.start();
    world.until_next_offset(&readings, 0, 0).await;
    for offset in [0, 5] {
        assert_eq!(world.skip(&readings, 0, offset).await, Requested::Recorded);
    }
    assert_eq!(world.skip(&readings, 2, 0).await, Requested::NeverAssigned, "there is no such partition");
    let put = async |partition, number: u16| {
        world.put_into(&readings, partition, Some(&encode(&reading(number.into(), number.into())))).await;
    };
    put(0, 1).await;
    world.put_into(&readings, 0, Some(b"0123456789")).await;
    put(0, 2).await;
    put(1, 3).await;
    world.until(ROWS, 2).await;
    world.until_degraded(&format!("{readings} partition 0 waits at offset 1: ")).await;
    world.until_next_offset(&readings, 0, 1).await;
    for (partition, offset) in [(0, 2), (1, 1)] {
        assert_eq!(world.skip(&readings, partition, offset).await, Requested::Recorded);
    }
    put(1, 4).await;
    world.until(ROWS, 3).await;
    assert_eq!(world.next_offset(&readings, 0).await, 1);

    assert_eq!(world.skip(&readings, 0, 1).await, Requested::Recorded);
    assert_ne!(world.skip(&readings, 0, 1).await, Requested::Recorded);
    world.until(ROWS, 4).await;
    world.until("SELECT count(*) FROM dead_letters", 1).await;
    let told =
        "SELECT concat_ws(' ', origin_topic, origin_partition, origin_offset, stage, reason, detail) FROM dead_letters";
    assert_eq!(world.database.text(told).await, format!("{readings} 0 1 sink skipped a test"));
    assert_eq!(
        world.database.text("SELECT partition || ':' || log_offset FROM skips WHERE done_at IS NOT NULL").await,
        "0:1"
    );
    world.until_ready().await;
    assert_eq!(world.health.stages()["sink"].degraded, None);

    // A record without the headers of a dead letter.
    let end = world.next_offset(&letters, 0).await + world.next_offset(&letters, 1).await;
    world.put_into(&letters, 0, Some(b"")).await;
    world.until_degraded(&format!("{letters} partition 0 waits at offset ")).await;
    put(0, 5).await;
    world.until(ROWS, 5).await;
    assert_eq!(world.next_offset(&letters, 0).await + world.next_offset(&letters, 1).await, end);
    assert_eq!(world.database.count("SELECT count(*) FROM dead_letters").await, 1);
    running.stop().await;
}

/// A sink that cannot write leaves the partitions to sinks that can. A sink whose topics do not exist reports that.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_cannot_write_takes_no_partition() {
    let (world, other) = (World::new().await, Health::new());
    let running = world.start();
    world.readings(0, 1).await;
    world.until(ROWS, 1).await;
    let (_, address) = world.database.url.rsplit_once('@').unwrap();
    let database_url = format!("postgres://nobody:canary@{address}");
    let refused = start(SinkConfig { database_url, ..world.config() }, other.stage("sink"));
    until_said(&other, "refuses the user or the password", |sink| sink.waiting).await;
    for number in 1..60_u8 {
        let event = encode(&reading(number.into(), 1));
        world.put_into(&world.topics.readings(), i32::from(number % 2), Some(&event)).await;
    }
    world.until(ROWS, 60).await;
    assert!(!other.stages()["sink"].details.contains_key("partitions"), "{:?}", other.stages());
    refused.stop().await;

    let topics = Topics::new(&format!("{}nowhere.", Uuid::new_v4()));
    let group = "sink-nowhere".to_owned();
    let nowhere = start(SinkConfig { topics, group, ..world.config() }, other.stage("sink"));
    until_said(&other, "does not exist: run `device-manager topics apply`", |sink| sink.waiting).await;
    nowhere.stop().await;
    running.stop().await;
}

/// The readings of uploads are written over a connection of their own: what delays them delays no other events, and vice
/// versa.
#[tokio::test(flavor = "multi_thread")]
async fn bulk_readings_and_other_readings_do_not_wait_for_each_other() {
    let world = World::new().await;
    let (live, bulk) = (world.topics.readings(), world.topics.readings_bulk());
    let running = world.start();
    for (number, topic) in [(1, &live), (2, &bulk)] {
        world.put_into(topic, 0, Some(&encode(&reading(number, 1)))).await;
    }
    world.until(ROWS, 2).await;
    for (number, (free, held)) in [(&live, &bulk), (&bulk, &live)].into_iter().enumerate() {
        let mut lock = world.database.pool.begin().await.unwrap();
        let row = "SELECT next_offset FROM sink_offsets WHERE topic = $1 AND partition = 0 FOR UPDATE";
        sqlx::query(row).bind(held).execute(&mut *lock).await.unwrap();
        let id = u128::try_from(number).unwrap() * 2 + 3;
        world.put_into(held, 0, Some(&encode(&reading(id, 1)))).await;
        world.put_into(free, 0, Some(&encode(&reading(id + 1, 1)))).await;
        let rows = i64::try_from(id).unwrap();
        world.until(ROWS, rows).await;
        lock.rollback().await.unwrap();
        world.until(ROWS, rows + 1).await;
    }
    world.until_ready().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_a_value_is_skipped() {
    let world = World::new().await;
    let readings = world.topics.readings();
    world.put_into(&readings, 0, None).await;
    world.put_into(&readings, 0, Some(&encode(&reading(1, 1)))).await;
    world.put_into(&readings, 1, None).await;
    let running = world.start();
    world.until(ROWS, 1).await;
    world.until_next_offset(&readings, 0, 2).await;
    world.until_next_offset(&readings, 1, 1).await;
    assert_eq!(world.database.count("SELECT count(*) FROM dead_letters").await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_does_not_answer_is_reported() {
    let world = World::new().await;
    let running = world.start();
    world.readings(0, 5).await;
    world.until(ROWS, 5).await;
    let mut held = world.database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE outcomes IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    world.readings(5, 10).await;
    world.until_waiting("Postgres has not answered").await;
    held.rollback().await.unwrap();
    world.until(ROWS, 10).await;
    world.until_ready().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgres_is_waited_out() {
    let world = World::new().await;
    let running = world.start();
    world.readings(0, 5).await;
    world.until(ROWS, 5).await;
    let name = &world.database.name;
    // New connections are refused, and existing ones are terminated.
    world
        .database
        .administer(&format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS false; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ))
        .await;
    world.readings(5, 10).await;
    world.until_waiting("Postgres").await;
    world.database.administer(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    world.until(ROWS, 10).await;
    assert_eq!(world.database.count("SELECT count(*) FROM dead_letters").await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_messages_are_reported_and_skipped_only_after_the_loss_is_accepted() {
    let world = World::new().await;
    let readings = world.topics.readings();
    for number in 0..4_u8 {
        world.put_into(&readings, 0, Some(&encode(&reading(number.into(), number.into())))).await;
        world.put_into(&readings, 1, Some(&encode(&reading(u128::from(number) + 10, 10)))).await;
    }
    world.delete_records(&readings, 0, 3).await;
    let row = "INSERT INTO sink_offsets VALUES ($1, 0, 1)";
    sqlx::query(row).bind(&readings).execute(&world.database.pool).await.unwrap();
    let running = world.start();
    world.until_degraded(&format!("accept-gap --topic {readings} --partition 0")).await;
    world.until(ROWS, 4).await;
    assert_eq!(world.next_offset(&readings, 0).await, 1);

    let mut connection = world.database.pool.acquire().await.unwrap();
    let gap = |from| Gap { topic: readings.clone(), partition: 0, from, to: 3 };
    assert!(!skip::accept(&mut connection, &gap(0)).await.unwrap());
    assert!(skip::accept(&mut connection, &gap(1)).await.unwrap());
    world.until(ROWS, 5).await;
    let told = "SELECT concat_ws(' ', topic, partition, from_offset, to_offset) FROM accepted_gaps";
    assert_eq!(world.database.text(told).await, format!("{readings} 0 1 3"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_whose_partitions_all_wait_is_not_ready() {
    let world = World::new().await;
    for topic in sink::item::EventTopic::ALL {
        for partition in 0..2 {
            let row = "INSERT INTO sink_offsets VALUES ($1, $2, 7)";
            let topic = topic.full_name(&world.topics);
            sqlx::query(row).bind(topic).bind(partition).execute(&world.database.pool).await.unwrap();
        }
    }
    let running = world.start();
    world.until_waiting("all partitions wait: ").await;
    // If one partition of a topic was never that long, no partition of the topic is read. Other topics continue.
    let (readings, outcomes) = (world.topics.readings(), world.topics.outcomes());
    world.put_into(&readings, 1, Some(&encode(&reading(1, 1)))).await;
    let reset = "UPDATE sink_offsets SET next_offset = 0 WHERE topic = $1 OR (topic = $2 AND partition >= $3)";
    let reset = |from: i32| sqlx::query(reset).bind(&outcomes).bind(&readings).bind(from).execute(&world.database.pool);
    reset(1).await.unwrap();
    world.until_degraded("another or an older Kafka").await;
    assert_eq!(world.database.count(ROWS).await, 0);
    reset(0).await.unwrap();
    world.until(ROWS, 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_tables_are_reported_with_the_remedy() {
    let world = World::new().await;
    world.readings(0, 5).await;
    for statement in ["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"] {
        sqlx::query(statement).execute(&world.database.pool).await.unwrap();
    }
    let running = world.start();
    world.until_waiting("--migrate").await;
    migrate(&world.database.pool).await.unwrap();
    world.until(ROWS, 5).await;
    running.stop().await;
}

/// `raw.devices` was deleted and recreated, and nobody raised the epoch.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_at_the_position_of_another_becomes_a_dead_letter() {
    let world = World::new().await;
    let running = world.start();
    let assignments = world.topics.assignments();
    let first = assignment(0, Some("anna"), MAY);
    let other = Assignment {
        device_key: Uuid::from_u128(5),
        received_at: first.received_at + 1,
        ..assignment(0, Some("ben"), MAY)
    };
    world.event(&assignments, &first).await;
    world.until("SELECT count(*) FROM device_assignments", 1).await;
    // The same command once more is a redelivery; the other one is another record.
    world.event(&assignments, &first).await;
    world.event(&assignments, &other).await;
    world.until("SELECT count(*) FROM dead_letters WHERE stage = 'sink' AND reason = 'row-refused'", 1).await;
    assert_eq!(world.database.count("SELECT count(*) FROM dead_letters WHERE detail LIKE '%recreated%'").await, 1);
    // Under the higher epoch the command is accepted.
    world.event(&assignments, &Assignment { topic_epoch: 2, ..other }).await;
    world.until("SELECT count(*) FROM device_assignments", 2).await;
    assert_eq!(world.database.count("SELECT count(*) FROM dead_letters").await, 1);
    running.stop().await;
}

/// If the sinks begin again at an offset before a skipped record, the log was replaced, and its offset belongs to another record.
#[tokio::test]
async fn a_skip_can_be_requested_again_unless_the_sinks_have_passed_the_record() {
    let database = Database::make().await;
    let mut connection = database.pool.acquire().await.unwrap();
    let record = EventPosition { topic: "readings", partition: 0, offset: 1 };
    let mut request = async |why| skip::request(&mut connection, record, why).await.unwrap();
    let change = async |statement| sqlx::raw_sql(statement).execute(&database.pool).await.map(drop).unwrap();
    change("INSERT INTO sink_offsets VALUES ('readings', 0, 1)").await;
    assert_eq!(request("first").await, Requested::Recorded);
    assert_eq!(request("second").await, Requested::AlreadyRecorded);
    let done = "UPDATE skips SET done_at = now(); UPDATE sink_offsets SET next_offset = 2";
    change(done).await;
    assert_eq!(request("third").await, Requested::AlreadyPassed(2));
    let told = "SELECT concat_ws(' ', reason, done_at IS NULL) FROM skips";
    assert_eq!(database.text(told).await, "first f");

    change("UPDATE sink_offsets SET next_offset = 0").await;
    assert_eq!(request("fourth").await, Requested::Recorded);
    assert_eq!(database.text(told).await, "fourth t");
}
