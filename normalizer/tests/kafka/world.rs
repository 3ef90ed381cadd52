//! The topics, groups and stages of one test, on a Kafka that all tests share.

use std::{
    num::NonZeroUsize,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use normalizer::{BatchLimits, NormalizerConfig, Skip};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::{Header, Headers as _, OwnedHeaders, OwnedMessage},
    producer::{FutureProducer, FutureRecord},
};
use schemas::{
    codec::{Event, decode},
    content::ContentKey,
    dead_letter::DeadLetter,
    event::{Outcome, Reading},
    format::{Format, RawTopic},
    raw::{Headers, RecordKind},
    topic::Topics,
    upload::{Upload, UploadPart},
};
use service::{
    health::{Health, StageState},
    kafka::{GroupProtocol, KafkaSettings},
    topics::{self, Size},
};
use tests::servers;
use tokio::{
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::record::headers;

const DIRECTORY: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/normalizer");
const ANSWER: Duration = Duration::from_secs(20);
/// Longer than any step takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);

static COUNT: AtomicU32 = AtomicU32::new(0);
/// Most tests share Kafka; a test that freezes it has it alone.
static SHARED: RwLock<()> = RwLock::const_new(());

pub(crate) struct World {
    pub(crate) kafka: KafkaSettings,
    pub(crate) topics: Topics,
    pub(crate) key: ContentKey,
    producer: FutureProducer,
    _turn: Turn,
}

enum Turn {
    Shared { _turn: RwLockReadGuard<'static, ()> },
    Alone { _turn: RwLockWriteGuard<'static, ()> },
}

/// A stopped Kafka process, which continues when this is dropped.
pub(crate) struct Frozen(String);

impl Frozen {
    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0]).status().unwrap().success());
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

pub(crate) struct Running {
    pub(crate) health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), normalizer::NormalizerError>>,
}

/// The position of the first chunk of an upload.
#[derive(Clone, Copy)]
pub(crate) struct FirstChunk {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl World {
    /// Creates empty topics with the given number of partitions.
    pub(crate) async fn new(partitions: i32) -> Self {
        Self::of(partitions, Turn::Shared { _turn: SHARED.read().await }).await
    }

    /// Like [`Self::new`], but no other test runs at the same time.
    pub(crate) async fn alone(partitions: i32) -> Self {
        Self::of(partitions, Turn::Alone { _turn: SHARED.write().await }).await
    }

    async fn of(partitions: i32, turn: Turn) -> Self {
        let embedded = servers(Path::new(DIRECTORY)).await;
        let kafka = KafkaSettings::new(embedded.kafka_bootstrap().unwrap());
        // A prefix that no earlier run has used: committed offsets may exist longer than their topics.
        let topics = Topics::new(&format!("{}.", Uuid::new_v4().simple()));
        topics::apply(&kafka.client(), &topics, Size { partitions, replication: 1 }).await.unwrap();
        let producer = kafka.producer().create().unwrap();
        Self { kafka, topics, key: ContentKey::derive(&[7; 32]).unwrap(), producer, _turn: turn }
    }

    /// Stops the Kafka process with SIGSTOP.
    pub(crate) async fn freeze(&self) -> Frozen {
        let embedded = servers(Path::new(DIRECTORY)).await;
        let frozen = Frozen(embedded.kafka_pid().unwrap().to_string());
        frozen.signal("-STOP");
        frozen
    }

    pub(crate) fn config(&self) -> NormalizerConfig {
        NormalizerConfig {
            kafka: self.kafka.clone(),
            topics: self.topics.clone(),
            group: self.topics.readings(),
            topic_epoch: 0,
            content_key: self.key.clone(),
            batch: BatchLimits::default(),
            upload_wait: Duration::from_secs(7_200),
            threads: NonZeroUsize::new(2).unwrap(),
            skip: Skip::default(),
        }
    }

    pub(crate) fn start(&self) -> Running {
        start(self.config())
    }

    /// Appends a raw record. Returns its offset.
    pub(crate) async fn put(&self, topic: RawTopic, partition: i32, headers: &Headers, body: Option<&[u8]>) -> i64 {
        let name = self.topics.raw(topic);
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&name).partition(partition);
        record.payload = body;
        let pairs = headers
            .pairs()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
        self.producer.send(record.headers(pairs), ANSWER).await.map_err(|(error, _)| error).unwrap().offset
    }

    /// Appends a record to any topic.
    pub(crate) async fn append(&self, topic: &str, key: &str, value: &str) {
        let record = FutureRecord::to(topic).key(key).payload(value);
        self.producer.send(record, ANSWER).await.map_err(|(error, _)| error).unwrap();
    }

    /// Appends a HealthKit sample, which becomes a reading.
    pub(crate) async fn sample(&self, partition: i32, number: u32) -> i64 {
        let body = sample(number);
        self.put(RawTopic::HealthKit, partition, &standard_json(), Some(body.as_bytes())).await
    }

    pub(crate) async fn samples(&self, partitions: i32, from: u32, to: u32) {
        for number in from..to {
            self.sample(i32::try_from(number).unwrap() % partitions, number).await;
        }
    }

    /// Appends the chunks of an upload. Returns the offset of the first one.
    pub(crate) async fn chunks(&self, partition: i32, id: Uuid, chunks: &[&[u8]]) -> i64 {
        let mut first = None;
        for (number, chunk) in (0..).zip(chunks) {
            let headers = Headers {
                content_hmac: self.key.hash(chunk).to_hex(),
                upload: Some(Upload::new(id, UploadPart::Chunk { number })),
                ..export()
            };
            let offset = self.put(RawTopic::Uploads, partition, &headers, Some(chunk)).await;
            first.get_or_insert(offset);
        }
        first.unwrap()
    }

    /// Appends the manifest of an upload, with the hash of `content`. Returns its offset.
    pub(crate) async fn manifest(&self, first: FirstChunk, id: Uuid, chunks: &[&[u8]], content: &[u8]) -> i64 {
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let part = UploadPart::Manifest { chunks: u32::try_from(chunks.len()).unwrap(), bytes, first: first.offset };
        let headers =
            Headers { content_hmac: self.key.hash(content).to_hex(), upload: Some(Upload::new(id, part)), ..export() };
        self.put(RawTopic::Uploads, first.partition, &headers, Some(&[])).await
    }

    /// Appends a whole upload. Returns the offset of its manifest.
    pub(crate) async fn upload(&self, partition: i32, content: &[u8], chunk_bytes: usize) -> i64 {
        let chunks: Vec<&[u8]> = content.chunks(chunk_bytes).collect();
        let id = Uuid::from_u128(u128::from(COUNT.fetch_add(1, Ordering::SeqCst)) + (1 << 100));
        let first = self.chunks(partition, id, &chunks).await;
        self.manifest(FirstChunk { partition, offset: first }, id, &chunks, content).await
    }

    fn consumer(&self) -> BaseConsumer {
        let mut settings = self.kafka.consumer("looks-on", GroupProtocol::Classic);
        settings.set("enable.partition.eof", "false");
        settings.create().unwrap()
    }

    /// The number of messages of a topic.
    pub(crate) fn count(&self, topic: &str) -> i64 {
        let consumer = self.consumer();
        partitions(&consumer, topic).into_iter().map(|(start, end)| end - start).sum()
    }

    /// Returns all messages of a topic.
    pub(crate) fn all(&self, topic: &str) -> Vec<OwnedMessage> {
        let consumer = self.consumer();
        let (mut list, mut left) = (TopicPartitionList::new(), 0);
        for (partition, (start, end)) in (0..).zip(partitions(&consumer, topic)) {
            list.add_partition_offset(topic, partition, Offset::Offset(start)).unwrap();
            left += end - start;
        }
        consumer.assign(&list).unwrap();
        let mut found = Vec::new();
        while left > 0 {
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                found.push(message.unwrap().detach());
                left -= 1;
            }
        }
        found
    }

    fn events<E: Event>(&self, topic: &str) -> Vec<E> {
        self.all(topic).iter().map(|message| decode(message.payload().unwrap()).unwrap()).collect()
    }

    pub(crate) fn readings(&self) -> Vec<Reading> {
        self.events(&self.topics.readings())
    }

    pub(crate) fn bulk(&self) -> Vec<Reading> {
        self.events(&self.topics.readings_bulk())
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.events(&self.topics.outcomes())
    }

    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        let read = |message: &OwnedMessage| {
            let pairs = message.headers().unwrap().iter().filter_map(|header| Some((header.key, header.value?)));
            DeadLetter::read(pairs, message.payload().unwrap_or_default()).unwrap()
        };
        self.all(&self.topics.dead_letters()).iter().map(read).collect()
    }

    /// Waits until a topic has `wanted` messages. Fails at once if it has more.
    pub(crate) async fn until(&self, running: &[&Running], topic: &str, wanted: i64) {
        let waited = tokio::time::timeout(WITHIN, async {
            loop {
                let is = self.count(topic);
                assert!(is <= wanted, "{topic} has {is} messages, not {wanted}");
                if is == wanted {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        });
        if waited.await.is_err() {
            let states: Vec<_> = running.iter().map(|running| running.state()).collect();
            panic!("{topic} has {} messages, not {wanted}; the stages report {states:?}", self.count(topic));
        }
    }

    /// The offset and the metadata that the stage's group has committed for a partition.
    pub(crate) fn committed(&self, topic: RawTopic, partition: i32) -> Option<(i64, String)> {
        let name = self.topics.raw(topic);
        let mut list = TopicPartitionList::new();
        list.add_partition(&name, partition);
        let found = self.of_group(topic).committed_offsets(list, ANSWER).unwrap();
        let one = found.find_partition(&name, partition)?;
        Some((one.offset().to_raw().filter(|offset| *offset >= 0)?, one.metadata().to_owned()))
    }

    /// The offset in the copy of the mark of a partition of `raw.healthkit`, which is committed on another topic.
    pub(crate) fn copied_healthkit_mark(&self, partition: i32) -> Option<i64> {
        let group = format!("{}-marks", self.config().group);
        let consumer: BaseConsumer = self.kafka.consumer(&group, GroupProtocol::Classic).create().unwrap();
        let name = self.topics.documents();
        let mut list = TopicPartitionList::new();
        list.add_partition(&name, partition);
        let found = consumer.committed_offsets(list, ANSWER).unwrap();
        found.find_partition(&name, partition)?.offset().to_raw().filter(|offset| *offset >= 0)
    }

    /// Commits on behalf of the stage's group, which must have no members.
    pub(crate) fn commit(&self, topic: RawTopic, partition: i32, (offset, metadata): (i64, String)) {
        let mut list = TopicPartitionList::new();
        let mut one = list.add_partition(&self.topics.raw(topic), partition);
        one.set_offset(Offset::Offset(offset)).unwrap();
        one.set_metadata(metadata);
        self.of_group(topic).commit(&list, CommitMode::Sync).unwrap();
    }

    fn of_group(&self, topic: RawTopic) -> BaseConsumer {
        let group = normalizer::group_of(&self.config().group, topic);
        self.kafka.consumer(&group, GroupProtocol::Classic).create().unwrap()
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.kafka.client().create().unwrap()
    }

    /// Deletes a raw topic.
    pub(crate) async fn delete(&self, topic: RawTopic) {
        let name = self.topics.raw(topic);
        self.admin().delete_topics(&[&name], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    }

    /// Deletes and recreates a raw topic.
    pub(crate) async fn make_anew(&self, topic: RawTopic, partitions: i32) {
        self.delete(topic).await;
        let name = self.topics.raw(topic);
        let made = tokio::time::timeout(WITHIN, async {
            loop {
                let size = Size { partitions, replication: 1 };
                let done = topics::apply(&self.kafka.client(), &self.topics, size).await;
                // The old topic may not have been removed completely yet.
                if done.is_ok() && self.count(&name) == 0 {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        });
        made.await.unwrap();
    }
}

/// Starts a stage.
pub(crate) fn start(config: NormalizerConfig) -> Running {
    let (shutdown, health) = (CancellationToken::new(), Health::new());
    let (stage, stop) = (health.stage("normalizer"), shutdown.clone());
    Running { health, shutdown, task: tokio::spawn(normalizer::run(config, stage, stop)) }
}

/// The start and end offsets of each partition of a topic.
fn partitions(consumer: &BaseConsumer, topic: &str) -> Vec<(i64, i64)> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER).unwrap();
    let count = metadata.topics()[0].partitions().len();
    (0..count).map(|one| watermarks(consumer, topic, i32::try_from(one).unwrap())).collect()
}

/// Retries, because a topic that was just created may have no leader for a moment.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let deadline = std::time::Instant::now() + ANSWER;
    loop {
        match consumer.fetch_watermarks(topic, partition, ANSWER) {
            Ok(found) => return found,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(POLL);
    }
}

impl Running {
    pub(crate) fn state(&self) -> StageState {
        self.health.stages()["normalizer"].clone()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Waits until the stage ends by itself.
    pub(crate) async fn ended(self) -> Result<(), normalizer::NormalizerError> {
        tokio::time::timeout(WITHIN, self.task).await.unwrap().unwrap()
    }

    /// Waits until the state of the stage fulfils a condition. `what` describes the condition.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&StageState) -> bool) {
        let waited = tokio::time::timeout(WITHIN, async {
            while !is_so(&self.state()) {
                tokio::time::sleep(POLL).await;
            }
        });
        assert!(waited.await.is_ok(), "never {what}: {:?}", self.state());
    }

    pub(crate) async fn until_ready(&self) {
        self.until("ready", |state| state.waiting.is_none()).await;
    }

    /// Waits until the stage or a part of it waits, and the reason contains these texts.
    pub(crate) async fn until_told(&self, parts: &[&str]) {
        self.until(&format!("told {parts:?}"), |state| {
            let said = state.waiting.iter().chain(&state.degraded).cloned().collect::<String>();
            parts.iter().all(|part| said.contains(part))
        })
        .await;
    }
}

pub(crate) fn standard_json() -> Headers {
    headers(RecordKind::Payload(Format::StandardJson), "kafka")
}

pub(crate) fn export() -> Headers {
    Headers { device_id: Some("watch".to_owned()), ..headers(RecordKind::Payload(Format::ExportXml), "kafka") }
}

pub(crate) fn sample(number: u32) -> String {
    format!(
        r#"[{{"type":"HeartRate","value":{},"unit":"count/min","startDate":"2026-02-01T07:{:02}:{:02}Z","deviceId":"w"}}]"#,
        60 + number % 40,
        number / 60 % 60,
        number % 60
    )
}

/// An export with records numbered from `from` up to, but not including, `to`.
pub(crate) fn records(from: u32, to: u32) -> String {
    let records = (from..to).map(|number| {
        format!(
            r#"<Record type="HKQuantityTypeIdentifierHeartRate" unit="count/min" value="{}" startDate="2026-02-{:02} 07:{:02}:{:02} +0000" endDate="2026-02-{:02} 07:{:02}:{:02} +0000"/>"#,
            60 + number % 40,
            1 + number / 3_600 % 27,
            number / 60 % 60,
            number % 60,
            1 + number / 3_600 % 27,
            number / 60 % 60,
            number % 60
        )
    });
    format!("<HealthData>{}</HealthData>", records.collect::<String>())
}
