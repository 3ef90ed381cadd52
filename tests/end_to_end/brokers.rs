//! Three brokers that require a password, as in production: accepted payloads survive the loss of one broker.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use reqwest::{StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use service::kafka::KafkaSettings;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{
    payload::weight_of,
    world::{Setup, Stage, World, free_port, turn, until},
};

const READINGS: &str = "SELECT count(*) FROM readings";
const USER: &str = "device-manager";
const PASSWORD: &str = "known-to-the-brokers";
const WRONG: &str = "another-password";
const FHIR: &str = "/health-data/medisante/fhir-json";
const JVM: [&str; 6] =
    ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData"];

/// Clients authenticate by SASL with SCRAM; the brokers need no password among themselves.
const SETTINGS: &str = "\
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.client.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
auto.create.topics.enable=false
offsets.topic.num.partitions=3
transaction.state.log.num.partitions=3
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
replica.lag.time.max.ms=5000
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
";

const LOGGING: &str = "\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
";

struct Brokers {
    directory: TempDir,
    clients: [u16; 3],
    running: [Option<Child>; 3],
}

impl Drop for Brokers {
    fn drop(&mut self) {
        for number in 0..3 {
            self.kill(number);
        }
        if std::thread::panicking() {
            self.directory.disable_cleanup(true);
            eprintln!("logs of the brokers: {}", self.directory.path().display());
        }
    }
}

impl Brokers {
    fn start() -> Self {
        let ports: [[u16; 3]; 3] = std::array::from_fn(|_| std::array::from_fn(|_| free_port()));
        let voters: Vec<String> =
            ports.iter().zip(1..).map(|([_, _, controller], id)| format!("{id}@127.0.0.1:{controller}")).collect();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("log4j2.properties"), LOGGING).unwrap();
        let mut brokers = Self { clients: ports.map(|[client, _, _]| client), running: [None, None, None], directory };
        let formatting: Vec<Child> = (0..3)
            .map(|number| {
                let [client, internal, controller] = ports[number];
                let settings = format!(
                    "{SETTINGS}node.id={}\n\
                     controller.quorum.voters={}\n\
                     listeners=CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal},CONTROLLER://127.0.0.1:{controller}\n\
                     advertised.listeners=CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal}\n\
                     log.dirs={}\n",
                    number + 1,
                    voters.join(","),
                    brokers.directory.path().join(format!("data-{number}")).display(),
                );
                fs::write(brokers.settings(number), settings).unwrap();
                let mut format = brokers.java(number, "kafka.tools.StorageTool");
                format.args(["format", "-t", "AAAAAAAAAAAAAAAAAAAAAw", "-c"]).arg(brokers.settings(number));
                let user = format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]");
                format.args(["--add-scram", &user]).spawn().unwrap()
            })
            .collect();
        for mut format in formatting {
            assert!(format.wait().unwrap().success());
        }
        (0..3).for_each(|number| brokers.run(number));
        brokers
    }

    fn run(&mut self, number: usize) {
        let mut command = self.java(number, "kafka.Kafka");
        self.running[number] = Some(command.arg(self.settings(number)).spawn().unwrap());
    }

    /// Sends SIGKILL to a broker.
    fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.running[number].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn java(&self, number: usize, class: &str) -> Command {
        let jars = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".kafka/libs/*");
        let log = self.directory.path().join(format!("broker-{number}.log"));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new("java");
        command.args(JVM).arg("-cp").arg(jars);
        command
            .arg(format!("-Dlog4j2.configurationFile={}", self.directory.path().join("log4j2.properties").display()));
        command.arg(class).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn settings(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("server-{number}.properties"))
    }

    /// The environment variables with which clients reach the brokers.
    fn variables(&self) -> Vec<(String, String)> {
        let addresses = self.clients.map(|port| format!("127.0.0.1:{port}")).join(",");
        let variables = [
            ("KAFKA_BOOTSTRAP_SERVERS", addresses.as_str()),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
            ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256"),
            ("KAFKA_SASL_USERNAME", USER),
            ("KAFKA_SASL_PASSWORD", PASSWORD),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    async fn until_all_are_there(&self) {
        let client: BaseConsumer = KafkaSettings::from_env(self.variables()).unwrap().client().create().unwrap();
        until("three brokers answer", || async {
            let answer = client.fetch_metadata(None, Duration::from_secs(2));
            answer.is_ok_and(|cluster| cluster.brokers().len() == 3)
        })
        .await;
    }
}

/// Sends distinct readings until `stop`, each repeated until it is accepted. `accepted` counts them.
fn load(world: &World, accepted: &Arc<AtomicU32>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (client, accepted, stop) = (world.client.clone(), Arc::clone(accepted), Arc::clone(stop));
    tokio::spawn(async move {
        while !stop.load(Relaxed) {
            let number = accepted.load(Relaxed);
            client.post(FHIR, &weight(number)).await;
            accepted.fetch_add(1, Relaxed);
        }
    })
}

fn weight(number: u32) -> Value {
    weight_of(&format!("scale-{}", number % 24), &format!("w-{number}"), "final", 80.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_brokers_with_a_password_lose_nothing_when_one_dies_and_accept_nothing_when_two_do() {
    let turn = turn().await;
    let mut brokers = Brokers::start();
    brokers.until_all_are_there().await;
    let world = World::start_on(turn, Setup::default(), brokers.variables()).await;

    let (said, is_right) = world.command("topics", &["check"]);
    assert!(is_right && said.contains("raw.medisante: right"), "{said}");
    let durability = "3 copies of each record, 2 of them before it is acknowledged: the loss of one broker loses no";
    let ingress = (Stage::Ingress, 0);
    until("the ingress reports how durable its topics are", || async {
        world.ready(ingress).await.is_some_and(|(is_ready, said)| is_ready && said.contains(durability))
    })
    .await;
    assert!(world.log(ingress).contains(durability));
    let wrong = world.kafka_command("topics").arg("check").env("KAFKA_SASL_PASSWORD", WRONG).output().unwrap();
    let said = String::from_utf8([wrong.stdout, wrong.stderr].concat()).unwrap();
    assert!(!wrong.status.success() && said.contains("refuses the user name or the password"), "{said}");
    assert!(!said.contains(WRONG) && !world.logs().contains(PASSWORD), "{said}");

    let (accepted, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let sending = load(&world, &accepted, &stop);
    let more = async |count: u32| {
        let enough = accepted.load(Relaxed) + count;
        until("more is accepted", || async { accepted.load(Relaxed) >= enough }).await;
    };
    more(50).await;
    brokers.kill(0);
    more(100).await;
    until_rows(&world, &accepted).await;

    brokers.kill(1);
    let refused = weight(u32::MAX);
    let answer = world.client.try_post(FHIR, &refused).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(RETRY_AFTER));
    let before = accepted.load(Relaxed);
    // Before this second refusal, a reading that was acknowledged before the broker was killed may still have been counted.
    let answer = world.client.try_post(FHIR, &refused).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(accepted.load(Relaxed), before);

    brokers.run(0);
    brokers.run(1);
    more(50).await;
    stop.store(true, Relaxed);
    sending.await.unwrap();
    world.client.post(FHIR, &refused).await;
    let sent = i64::from(accepted.load(Relaxed)) + 1;
    world.until_count(READINGS, sent).await;
    world.assert_ledger(sent).await;
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);
    let (said, is_right) = world.command("topics", &["check"]);
    assert!(is_right, "{said}");
}

/// Waits until every reading that was accepted so far has its row.
async fn until_rows(world: &World, accepted: &AtomicU32) {
    let sent = i64::from(accepted.load(Relaxed));
    until("the accepted readings are stored", || async { world.count(READINGS).await >= sent }).await;
}
