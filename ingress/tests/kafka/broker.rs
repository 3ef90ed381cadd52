//! A broker and an ingress of the test's own.

use std::{
    fs,
    net::{SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ingress::{
    IngressConfig, IngressError,
    keys::{self, NewKey, Scope},
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use schemas::{
    receipt::{Position, ReceiptKey},
    topic::Topics,
};
use service::{
    health::Health,
    kafka::KafkaSettings,
    secret,
    topics::{self, Size},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A single-node Kafka that dies with the test.
pub(crate) struct Broker {
    child: Child,
    pub(crate) bootstrap: String,
    _directory: TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn java(jars: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp"]);
    command.arg(jars.join("*")).arg(class).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn jars() -> PathBuf {
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.kafka/libs");
    assert!(jars.is_dir(), "Kafka's jars are missing: run .ci/setup first");
    jars
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = || StdListener::bind("127.0.0.1:0").unwrap();
        let (clients, controllers) = (free(), free());
        let port = |listener: &StdListener| listener.local_addr().unwrap().port();
        let (clients_port, controllers_port) = (port(&clients), port(&controllers));
        drop((clients, controllers));
        let bootstrap = format!("127.0.0.1:{clients_port}");
        let settings = format!(
            "node.id=1\nprocess.roles=broker,controller\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             listeners=PLAINTEXT://{bootstrap},CONTROLLER://127.0.0.1:{controllers_port}\n\
             controller.quorum.voters=1@127.0.0.1:{controllers_port}\nauto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\nlog.cleaner.dedupe.buffer.size=8388608\n\
             log.dirs={}\n",
            directory.path().join("log").display()
        );
        let file = directory.path().join("server.properties");
        fs::write(&file, settings).unwrap();
        let (jars, config) = (jars(), file.to_str().unwrap());
        let id = "5FTcnDxzQ3Kq9mZfV0w1aA";
        let format = java(&jars, "kafka.tools.StorageTool").args(["format", "-t", id, "-c", config]).status();
        assert!(format.unwrap().success());
        let child = java(&jars, "kafka.Kafka").arg(config).spawn().unwrap();
        let broker = Self { child, bootstrap, _directory: directory };
        let settings = broker.settings();
        let answers = tokio::task::spawn_blocking(move || {
            let probe: BaseConsumer = settings.client().create().unwrap();
            let started = Instant::now();
            while started.elapsed() < PATIENCE {
                if probe.fetch_metadata(None, Duration::from_secs(1)).is_ok_and(|found| !found.brokers().is_empty()) {
                    return true;
                }
            }
            false
        });
        assert!(answers.await.unwrap(), "the broker answers in time");
        broker
    }

    pub(crate) fn settings(&self) -> KafkaSettings {
        KafkaSettings::new(&self.bootstrap)
    }

    /// Stops the process where it is: connections stay, nothing is answered.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

/// A running ingress.
pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ended: JoinHandle<Result<(), IngressError>>,
    pub(crate) receipts: ReceiptKey,
    _directory: TempDir,
}

impl Edge {
    pub(crate) async fn start(broker: &Broker, change: impl FnOnce(&mut IngressConfig)) -> Self {
        let topics = Topics::new("");
        let size = Size { partitions: 3, replication: 1 };
        topics::apply(&broker.settings().client(), &topics, size).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (keys_file, secret_file) = (directory.path().join("keys.json"), directory.path().join("receipt.key"));
        let new = NewKey {
            id: Some("the-key".to_owned()),
            source: "portal".to_owned(),
            scopes: vec![Scope::HealthDataWrite, Scope::DevicesWrite],
            providers: None,
            not_before: None,
            expires_at: None,
        };
        let (_, key) = keys::create(&keys_file, new).unwrap();
        let receipts = ReceiptKey::new(&secret::load_or_make(&secret_file).unwrap()).unwrap();
        let mut config = IngressConfig::new(keys_file, secret_file);
        change(&mut config);
        let listener = ingress::listen(&config).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let stage = health.stage("ingress");
        let run = ingress::run(config, listener, (broker.settings(), topics), stage, shutdown.clone());
        let key = key.reveal().to_owned();
        let edge = Self { address, key, health, shutdown, ended: tokio::spawn(run), receipts, _directory: directory };
        edge.until_ready(true).await;
        edge
    }

    pub(crate) async fn until_ready(&self, ready: bool) {
        let changed = async {
            while self.health.is_ready() != ready {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, changed).await.expect("readiness changes in time");
    }

    /// One request on a connection of its own: status and body, or none when there was no answer.
    pub(crate) async fn post(&self, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        post(self.address, &self.key, path, body).await
    }

    pub(crate) fn position(&self, answer: &[u8]) -> Position {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
        self.receipts.read(answer["_id"].as_str().unwrap()).unwrap()
    }
}

pub(crate) async fn post(address: SocketAddr, key: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((status, answer[body + 4..].to_vec()))
}
