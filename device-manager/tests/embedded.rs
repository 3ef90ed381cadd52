//! The embedded Kafka and Postgres: they start, keep their data, survive being killed, and never outlive their parent.
//!
//! Needs Java, Kafka's jars and Postgres, as `make setup` installs them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like the tests themselves")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use embedded::{DataDir, Embedded, EmbeddedConfig, EmbeddedError};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sqlx::{Connection as _, PgConnection};

const WITHIN: Duration = Duration::from_secs(30);
const TOPIC: &str = "kept";
const BOTH: EmbeddedConfig = EmbeddedConfig { kafka: true, postgres: true, kafka_home: None, kafka_proxied: None };

#[tokio::test(flavor = "multi_thread")]
async fn data_and_addresses_survive_a_restart_and_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = start(directory.path()).await;
    let addresses = addresses(&embedded);
    write(&embedded).await;

    let second = DataDir::acquire(directory.path()).err();
    assert!(matches!(second, Some(EmbeddedError::InUse { .. })), "only one process at a time may use a data directory");

    embedded.stop().await;
    drop(embedded);
    let embedded = start(directory.path()).await;
    assert_eq!(self::addresses(&embedded), addresses);
    assert_eq!(read(&embedded).await, (1, 1));

    write(&embedded).await;
    for pid in [embedded.kafka_pid(), embedded.postgres_pid()] {
        kill_process(pid_of(pid), Signal::KILL).unwrap();
    }
    let ended = tokio::time::timeout(WITHIN, embedded.child_ended()).await.expect("the end of a child must be noticed");
    assert!(matches!(ended, EmbeddedError::Ended { .. }));
    drop(embedded);
    let embedded = start(directory.path()).await;
    assert_eq!(self::addresses(&embedded), addresses);
    assert_eq!(read(&embedded).await, (2, 2));
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_and_postgres_can_each_be_stopped_and_started_while_the_other_runs() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = start(directory.path()).await;
    write(&embedded).await;
    let addresses = addresses(&embedded);

    embedded.stop_kafka().await;
    assert_eq!(embedded.kafka_pid(), None);
    embedded.start_kafka().await.unwrap();

    embedded.pause_kafka();
    assert_eq!(messages(&embedded), None, "a paused Kafka must not answer");
    embedded.resume_kafka();

    embedded.stop_postgres().await;
    assert!(PgConnection::connect(embedded.database_url().unwrap()).await.is_err());
    embedded.start_postgres().await.unwrap();

    assert_eq!(self::addresses(&embedded), addresses);
    assert_eq!(read(&embedded).await, (1, 1));
    embedded.stop().await;
}

/// `up` is a separate process, so that it can be killed. Nothing that it started may remain, and the next start must work.
#[tokio::test(flavor = "multi_thread")]
async fn child_processes_end_when_their_parent_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut up = up(directory.path());
    let children = wait_for_children(directory.path(), &mut up);
    up.kill().unwrap();
    up.wait().unwrap();

    // At once, while the children are still ending.
    let embedded = start(directory.path()).await;
    for child in children {
        assert!(test_kill_process(child).is_err(), "a child outlived its parent and the next start");
    }
    assert!(embedded.database_url().is_some());
    embedded.stop().await;
}

#[tokio::test]
async fn a_missing_kafka_is_reported_with_ways_to_provide_one() {
    let directory = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { kafka_home: Some("/nonexistent".into()), ..BOTH };
    let data_dir = DataDir::acquire(directory.path()).unwrap_or_else(|error| panic!("{error}"));
    let error = Embedded::start(data_dir, config).await.err().unwrap().to_string();
    for part in ["/nonexistent", "make setup", "KAFKA_BOOTSTRAP_SERVERS"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

async fn start(directory: &Path) -> Embedded {
    let data_dir = DataDir::acquire(directory).unwrap_or_else(|error| panic!("{error}"));
    Embedded::start(data_dir, BOTH).await.unwrap_or_else(|error| panic!("{error}"))
}

fn addresses(embedded: &Embedded) -> (String, String) {
    (embedded.kafka_bootstrap().unwrap().to_owned(), embedded.database_url().unwrap().to_owned())
}

/// Writes one record to each, and waits for the acknowledgements.
async fn write(embedded: &Embedded) {
    let client = client(embedded);
    let admin: AdminClient<_> = client.create().unwrap();
    admin.create_topics(&[NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1))], &AdminOptions::new()).await.unwrap();
    let producer: FutureProducer = client.create().unwrap();
    producer.send(FutureRecord::<(), _>::to(TOPIC).payload("x"), WITHIN).await.unwrap();

    let mut connection = PgConnection::connect(embedded.database_url().unwrap()).await.unwrap();
    for statement in ["CREATE TABLE IF NOT EXISTS kept (n int)", "INSERT INTO kept VALUES (1)"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
}

/// The number of records in each.
async fn read(embedded: &Embedded) -> (i64, i64) {
    let deadline = Instant::now() + WITHIN;
    let messages = loop {
        if let Some(messages) = messages(embedded) {
            break messages;
        }
        assert!(Instant::now() < deadline, "Kafka does not return its watermarks");
    };
    let mut connection = PgConnection::connect(embedded.database_url().unwrap()).await.unwrap();
    (messages, sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut connection).await.unwrap())
}

fn messages(embedded: &Embedded) -> Option<i64> {
    let consumer: BaseConsumer = client(embedded).create().unwrap();
    let (low, high) = consumer.fetch_watermarks(TOPIC, 0, Duration::from_secs(2)).ok()?;
    Some(high - low)
}

fn client(embedded: &Embedded) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", embedded.kafka_bootstrap().unwrap()).set("group.id", "embedded-test");
    config
}

fn up(data_dir: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_device-manager"))
        .args(["up", "--data-dir"])
        .arg(data_dir)
        .env_remove("KAFKA_BOOTSTRAP_SERVERS")
        .env_remove("DATABASE_URL")
        .env("HTTP_PORT", "0")
        .env("MANAGEMENT_ADDRESS", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The processes that `up` has recorded, once both run: `env` appears when everything is ready.
fn wait_for_children(data_dir: &Path, up: &mut Child) -> [Pid; 2] {
    let deadline = Instant::now() + 2 * WITHIN;
    while !data_dir.join("env").exists() {
        assert!(up.try_wait().unwrap().is_none(), "up ended before it was ready");
        assert!(Instant::now() < deadline, "up did not become ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    ["kafka.pid", "postgres.pid"].map(|file| {
        let noted = std::fs::read_to_string(data_dir.join(file)).unwrap();
        pid_of(noted.split(' ').next().unwrap().parse().ok())
    })
}

fn pid_of(pid: Option<u32>) -> Pid {
    Pid::from_raw(i32::try_from(pid.unwrap()).unwrap()).unwrap()
}
