//! An ingress with its own topics for each test, on a Kafka that all tests share.

use std::{io, net::SocketAddr, num::NonZeroU16, path::Path, time::Duration};

use embedded::Embedded;
use ingress::{
    IngressConfig, IngressError,
    keys::{self, NewKey, Scope},
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use schemas::{
    content::ContentKey,
    format::RawTopic,
    receipt::{ItemPosition, ReceiptKey},
    topic::Topics,
};
use service::{
    cluster::Cluster,
    health::Health,
    kafka::KafkaSettings,
    secret,
    topics::{self, Size},
};
use tempfile::TempDir;
use tests::servers;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Only one test runs at a time, because one of them freezes Kafka.
static TURN: Mutex<()> = Mutex::const_new(());

/// The log of all tests: the runtime's threads do not belong to a single test.
static LOG: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());

pub(crate) const PARTITIONS: NonZeroU16 = NonZeroU16::new(3).unwrap();
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

struct Logged;

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *LOG.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    pub(crate) content_key: ContentKey,
    pub(crate) embedded: &'static Embedded,
    pub(crate) kafka: KafkaSettings,
    pub(crate) topics: Topics,
    _directory: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Edge {
    /// Starts an ingress. `name` is the prefix of its topics' names.
    pub(crate) async fn start(name: &str, change: impl FnOnce(&mut IngressConfig)) -> Self {
        let turn = TURN.lock().await;
        let _once = tracing_subscriber::fmt().json().with_writer(|| Logged).try_init();
        let embedded = servers(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("ingress")).await;
        let kafka = KafkaSettings::new(embedded.kafka_bootstrap().unwrap());
        let topics = Topics::new(&format!("{name}."));
        topics::apply(&kafka.client(), &topics, Size { partitions: PARTITIONS.get().into(), replication: 1 })
            .await
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (keys_file, secret_file) = (directory.path().join("keys.json"), directory.path().join("receipt.key"));
        let new = NewKey {
            id: Some("the-key".to_owned()),
            source: "portal".to_owned(),
            scopes: vec![Scope::HealthDataWrite, Scope::DevicesWrite],
            providers: None,
            defaults: None,
            not_before: None,
            expires_at: None,
        };
        let (_, key) = keys::create(&keys_file, new).unwrap();
        let secret = secret::load_or_create(&secret_file).unwrap();
        let (receipts, content_key) = (ReceiptKey::new(&secret).unwrap(), ContentKey::derive(&secret).unwrap());
        let mut config = IngressConfig::new(keys_file, secret_file);
        change(&mut config);
        let listener = ingress::listen(&config).unwrap();
        let address = listener.local_addr().unwrap();
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let stage = health.stage("ingress");
        let cluster = Cluster { settings: kafka.clone(), topics: topics.clone() };
        let run = ingress::run(config, listener, cluster, stage, shutdown.clone());
        let edge = Self {
            address,
            key: key.reveal().to_owned(),
            health,
            shutdown,
            ended: tokio::spawn(run),
            receipts,
            content_key,
            embedded,
            kafka,
            topics,
            _directory: directory,
            _turn: turn,
        };
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

    pub(crate) async fn admin_adds_partitions(&self, topic: RawTopic, count: usize) {
        let topic = self.topics.raw(topic);
        let added = NewPartitions::new(&topic, count);
        self.admin().create_partitions([&added], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.kafka.client().create().unwrap()
    }

    /// Returns the lines logged since the last call.
    pub(crate) fn logged() -> Vec<serde_json::Value> {
        let log = std::mem::take(&mut *LOG.lock().unwrap());
        log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Sends one request on its own connection. Returns status and body, or `None` if there was no response.
    pub(crate) async fn post(&self, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        post(self.address, &self.key, path, body).await
    }

    pub(crate) fn position(&self, answer: &[u8]) -> ItemPosition {
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
