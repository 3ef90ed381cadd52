//! From topic to table, through kills, restored dumps and messages that cannot be read.

use std::time::Duration;

use rdkafka::producer::{FutureProducer, FutureRecord};
use schemas::{
    codec::{Event, encode},
    topic::Topics,
};
use service::{
    health::{Health, StageHealth},
    kafka::KafkaSettings,
    topics::{self, Size},
};
use sink::{BatchLimits, SinkConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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

    /// With batches of this many messages.
    pub(crate) fn start_with(&self, messages: usize) -> Running {
        let batch = BatchLimits { messages, ..BatchLimits::default() };
        let config = SinkConfig { batch, ..self.config() };
        let (shutdown, health) = (CancellationToken::new(), self.health());
        let stop = shutdown.clone();
        Running { shutdown, task: tokio::spawn(async move { sink::run(config, health, stop).await.unwrap() }) }
    }

    pub(crate) async fn put(&self, topic: &str, device: &str, value: &[u8]) {
        self.producer
            .send(FutureRecord::to(topic).key(device).payload(value), Duration::from_secs(10))
            .await
            .map_err(|(error, _)| error)
            .unwrap();
    }

    /// Puts many on the way at once.
    pub(crate) async fn events<E: Event>(&self, topic: &str, events: impl Iterator<Item = E>) {
        let send = |event: E| {
            let value = encode(&event);
            self.producer.send_result(FutureRecord::to(topic).key("device").payload(&value)).map_err(|(error, _)| error)
        };
        for sent in events.map(send).collect::<Vec<_>>() {
            sent.unwrap().await.unwrap().map_err(|(error, _)| error).unwrap();
        }
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
            panic!("{statement} is {got}, not {wanted}; the stage says {:?}", self.health.stages());
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
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let stages = self.health.stages();
                if stages["sink"].waiting.as_ref().is_some_and(|reason| reason.contains(part)) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "never waited for {part}: {:?}", self.health.stages());
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

pub(crate) const ROWS: &str = "SELECT count(*) FROM readings";

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_once_over_restarts_and_a_restored_dump() {
    let world = World::new().await;
    let running = world.start();
    world.readings(0, 50).await;
    world.event(&world.topics.assignments(), &assignment(0, Some("anna"), MAY - 1)).await;
    world.until(ROWS, 50).await;
    world.until("SELECT count(*) FROM attributed_readings WHERE patient_id = 'anna'", 50).await;
    running.stop().await;
    let dump = world.database.dump();

    // Kafka's committed offsets do not count: the next sink goes on where Postgres says.
    let running = world.start();
    world.readings(50, 80).await;
    world.until(ROWS, 80).await;

    // The dump is restored under a running sink, which nothing tells.
    world.database.restore(&dump).await;
    world.until(ROWS, 80).await;
    world
        .until("SELECT coalesce(sum(promised_readings - rows - duplicates - refused), -1)::bigint FROM ledger", 0)
        .await;
    running.stop().await;

    // And while none runs.
    world.database.restore(&dump).await;
    assert_eq!(world.database.count(ROWS).await, 50);
    let running = world.start();
    world.until(ROWS, 80).await;
    assert_eq!(world.database.count("SELECT count(*) FROM reading_duplicates").await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_become_dead_letters_and_their_neighbours_rows() {
    let world = World::new().await;
    let readings = world.topics.readings();
    world.readings(0, 3).await;
    world.put(&readings, "device", b"no event").await;
    // Known beforehand: U+0000. Known only by Postgres: a constraint that this test adds.
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
    world.until("SELECT count(*) FROM dead_letters", 3).await;
    assert_eq!(
        world
            .database
            .text("SELECT reason || ' ' || coalesce(raw_offset::text, '-') FROM dead_letters ORDER BY 1")
            .await,
        "event-unreadable -;row-refused 900;row-refused 901"
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
    // What another release wrote: the same fields under a record whose canonical form differs by one more field.
    let text = schemas::event::Outcome::SCHEMA.trim_end();
    let extended = {
        let mut schema: serde_json::Value = serde_json::from_str(text).unwrap();
        let more = serde_json::json!({"name": "later", "type": "int", "default": 0});
        schema["fields"].as_array_mut().unwrap().push(more);
        schema.to_string()
    };
    let foreign = schemas::codec::EventSchema::parse("foreign", extended.clone().leak()).unwrap();
    let mut message = encode(&outcome(7, 1));
    message[2..10].copy_from_slice(&foreign.fingerprint.0);
    message.push(0);
    world.put(&world.topics.outcomes(), "device", &message).await;
    world.until_waiting(&format!("of the record {}:", world.topics.outcomes())).await;
    assert_eq!(world.database.count("SELECT count(*) FROM dead_letters").await, 0);
    world.put(&world.topics.schemas(), &foreign.fingerprint.to_string(), extended.as_bytes()).await;
    world.until("SELECT count(*) FROM outcomes WHERE first_offset = 7", 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_does_not_answer_is_spoken_of() {
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
    // Nobody gets in, and who is in is thrown out.
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
async fn messages_that_are_gone_are_said_and_not_skipped() {
    let world = World::new().await;
    world.readings(0, 5).await;
    for (topic, partition) in [(world.topics.readings(), 0), (world.topics.readings(), 1)] {
        sqlx::query("INSERT INTO sink_offsets VALUES ($1, $2, -1)")
            .bind(topic)
            .bind(partition)
            .execute(&world.database.pool)
            .await
            .unwrap();
    }
    let running = world.start();
    world.until_waiting("messages are gone").await;
    assert_eq!(world.database.count(ROWS).await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_tables_are_said_with_the_way_out() {
    let world = World::new().await;
    world.readings(0, 5).await;
    for statement in ["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"] {
        sqlx::query(statement).execute(&world.database.pool).await.unwrap();
    }
    let running = world.start();
    world.until_waiting("--migrate").await;
    sink::migrate(&world.database.pool).await.unwrap();
    world.until(ROWS, 5).await;
    running.stop().await;
}
