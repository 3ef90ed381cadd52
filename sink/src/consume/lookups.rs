//! Requests that take time run on other threads, so that the consumer is polled meanwhile: where the logs in Kafka begin and
//! end, the next offsets in Postgres, which schemas are published, and whether Kafka answers. At most one request of each
//! kind runs at a time, and each has a time limit.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use schemas::{codec::Fingerprint, topic::Topics};
use service::{cluster::Cluster, rebootstrap::Rebootstrap, schema_topic};
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::{Builder, Handle};

use crate::{
    SinkConfig,
    item::{EventTopic, Lane, Partition},
    skips,
    write::offsets,
};
use store::error_class::cause;

/// The time limit for a request to Kafka, and for all requests to Postgres of one lookup.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// The result of a lookup.
pub(super) enum Answer {
    BeginOffsets(Result<BeginOffsets, String>),
    SkipsAndSchemas(Result<SkipsAndSchemas, String>),
    Probe(Result<Probe, KafkaError>),
}

/// The result of a probe of Kafka.
pub(super) enum Probe {
    /// The end offsets of the logs.
    EndOffsets(BTreeMap<Partition, i64>),
    /// A topic that does not exist. Only a sink without partitions looks for it.
    MissingTopic(String),
}

/// Where partitions begin, and which of their records are skipped.
pub(super) struct BeginOffsets {
    pub(super) begin: BTreeMap<Partition, Result<i64, String>>,
    pub(super) skips: BTreeMap<(Partition, i64), String>,
}

/// What blocked partitions may wait for.
pub(super) struct SkipsAndSchemas {
    pub(super) skips: BTreeMap<(Partition, i64), String>,
    pub(super) schemas: Vec<(Fingerprint, String)>,
}

/// The state of one kind of lookup: it runs, or it is due at a time.
enum LookupState {
    Running,
    Due(Instant),
}

impl LookupState {
    /// Returns whether the lookup is due now. If so, it counts as running.
    fn start_if_due(&mut self) -> bool {
        match self {
            Self::Due(at) if *at <= Instant::now() => {
                *self = Self::Running;
                true
            }
            Self::Due(_) | Self::Running => false,
        }
    }
}

pub(super) struct Lookups {
    context: LookupContext,
    runtime: Handle,
    rebootstrap: Rebootstrap,
    answers_tx: Sender<Answer>,
    answers_rx: Receiver<Answer>,
    begin_offsets: LookupState,
    skips_and_schemas: LookupState,
    probe: LookupState,
}

#[derive(Clone)]
struct LookupContext {
    config: Arc<SinkConfig>,
    lane: Lane,
    client: Arc<BaseConsumer>,
}

impl Lookups {
    pub(super) fn new(config: &SinkConfig, lane: Lane, runtime: Handle) -> Result<Self, KafkaError> {
        let client = Arc::new(config.kafka.client().create()?);
        let (answers_tx, answers_rx) = channel();
        let now = Instant::now();
        Ok(Self {
            context: LookupContext { config: Arc::new(config.clone()), lane, client },
            runtime,
            rebootstrap: Rebootstrap::new(&config.kafka.bootstrap),
            answers_tx,
            answers_rx,
            begin_offsets: LookupState::Due(now),
            skips_and_schemas: LookupState::Due(now),
            probe: LookupState::Due(now),
        })
    }

    /// Returns the next answer, if there is one.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        self.rebootstrap.check(self.context.client.client());
        self.answers_rx.try_recv().ok()
    }

    /// Looks up where partitions begin. Returns whether the lookup was started.
    pub(super) fn request_begin_offsets(&mut self, partitions: &[Partition]) -> bool {
        let is_started = !partitions.is_empty() && self.begin_offsets.start_if_due();
        if is_started {
            let partitions = partitions.to_vec();
            self.spawn(move |context| Answer::BeginOffsets(context.begin_offsets(&partitions)));
        }
        is_started
    }

    /// Sets when begin offsets are looked up next, after the current lookup is answered.
    pub(super) fn schedule_begin_offsets(&mut self, delay: Duration) {
        self.begin_offsets = LookupState::Due(Instant::now() + delay);
    }

    /// Makes the next lookup of begin offsets due now.
    pub(super) fn expedite_begin_offsets(&mut self) {
        if let LookupState::Due(at) = &mut self.begin_offsets {
            *at = Instant::now();
        }
    }

    /// Looks up whether blocked partitions can continue.
    pub(super) fn request_skips_and_schemas(&mut self, blocked: Vec<(Partition, i64, Option<Fingerprint>)>) {
        if !blocked.is_empty() && self.skips_and_schemas.start_if_due() {
            self.spawn(move |context| Answer::SkipsAndSchemas(context.skips_and_schemas(&blocked)));
        }
    }

    pub(super) fn schedule_skips_and_schemas(&mut self, delay: Duration) {
        self.skips_and_schemas = LookupState::Due(Instant::now() + delay);
    }

    /// Asks Kafka whether it answers, and where these logs end.
    pub(super) fn request_probe(&mut self, partitions: impl FnOnce() -> Vec<Partition>) {
        if self.probe.start_if_due() {
            let partitions = partitions();
            self.spawn(move |context| Answer::Probe(context.probe(&partitions)));
        }
    }

    pub(super) fn schedule_probe(&mut self, delay: Duration) {
        self.probe = LookupState::Due(Instant::now() + delay);
    }

    fn spawn(&self, work: impl FnOnce(&LookupContext) -> Answer + Send + 'static) {
        let (context, answers_tx) = (self.context.clone(), self.answers_tx.clone());
        self.runtime.spawn_blocking(move || {
            // The receiver is gone if the reader has ended.
            let _ended = answers_tx.send(work(&context));
        });
    }
}

impl LookupContext {
    fn begin_offsets(&self, partitions: &[Partition]) -> Result<BeginOffsets, String> {
        let topics = &self.config.topics;
        let unanswered = |_| "Kafka does not return where its logs begin and end".to_owned();
        self.find_leaders(partitions).map_err(unanswered)?;
        let starts = self.log_offsets(partitions, Offset::Beginning).map_err(unanswered)?;
        let ends = self.log_offsets(partitions, Offset::End).map_err(unanswered)?;
        let starts: Vec<(Partition, i64)> = starts.into_iter().collect();
        let (next, skips) = run_query(offsets_and_skips(self.config.clone(), starts.clone()))?;
        let logs: BTreeMap<Partition, Log> = starts
            .into_iter()
            .map(|(partition, start)| {
                let end = ends.get(&partition).copied().unwrap_or(i64::MAX);
                (partition, Log { start, end, next: next.get(&partition).copied().unwrap_or(start) })
            })
            .collect();
        Ok(BeginOffsets { begin: begin_offsets(topics, &logs), skips })
    }

    fn skips_and_schemas(&self, blocked: &[(Partition, i64, Option<Fingerprint>)]) -> Result<SkipsAndSchemas, String> {
        let partitions: Vec<Partition> = blocked.iter().map(|(partition, ..)| *partition).collect();
        let skips = run_query(skips_of(self.config.clone(), partitions))?;
        let wants_schema = blocked.iter().any(|(_, _, fingerprint)| fingerprint.is_some());
        let schemas = if wants_schema {
            let cluster = Cluster { settings: self.config.kafka.clone(), topics: self.config.topics.clone() };
            schema_topic::read(&cluster, &format!("{}-schemas", self.config.group), ANSWER_TIMEOUT)
                .map_err(|_| "Kafka does not return the published schemas".to_owned())?
        } else {
            Vec::new()
        };
        Ok(SkipsAndSchemas { skips, schemas })
    }

    fn probe(&self, partitions: &[Partition]) -> Result<Probe, KafkaError> {
        // Nothing else polls the events of this client.
        while self.client.poll(Duration::ZERO).is_some() {}
        if partitions.is_empty() {
            return Ok(self.missing_topic()?.map_or_else(|| Probe::EndOffsets(BTreeMap::new()), Probe::MissingTopic));
        }
        self.find_leaders(partitions)?;
        self.log_offsets(partitions, Offset::End).map(Probe::EndOffsets)
    }

    /// Returns a topic of the lane that does not exist, if there is one.
    fn missing_topic(&self) -> Result<Option<String>, KafkaError> {
        for topic in self.lane.topics() {
            let name = topic.full_name(&self.config.topics);
            let metadata = self.client.fetch_metadata(Some(&name), ANSWER_TIMEOUT)?;
            if metadata.topics().iter().all(|found| found.partitions().is_empty()) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Finds the partition leaders. Must be called before [`LookupContext::log_offsets`]: this client subscribes to nothing, so
    /// librdkafka would keep asking a broker that is gone.
    fn find_leaders(&self, partitions: &[Partition]) -> Result<(), KafkaError> {
        let topics: BTreeSet<EventTopic> = partitions.iter().map(|partition| partition.topic).collect();
        for topic in topics {
            self.client.fetch_metadata(Some(&topic.full_name(&self.config.topics)), ANSWER_TIMEOUT)?;
        }
        Ok(())
    }

    /// Returns where the logs begin or end, with one request to each broker.
    fn log_offsets(&self, partitions: &[Partition], which: Offset) -> Result<BTreeMap<Partition, i64>, KafkaError> {
        let topics = &self.config.topics;
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(&partition.topic.full_name(topics), partition.number, which)?;
        }
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list = self.client.offsets_for_times(list, ANSWER_TIMEOUT)?;
        let mut found = BTreeMap::new();
        for partition in partitions {
            if let Some(entry) = list.find_partition(&partition.topic.full_name(topics), partition.number) {
                entry.error()?;
                if let Offset::Offset(offset) = entry.offset() {
                    found.insert(*partition, offset);
                }
            }
        }
        Ok(found)
    }
}

async fn offsets_and_skips(
    config: Arc<SinkConfig>,
    starts: Vec<(Partition, i64)>,
) -> Result<(HashMap<Partition, i64>, BTreeMap<(Partition, i64), String>), sqlx::Error> {
    let mut connection = connect(&config).await?;
    let partitions: Vec<Partition> = starts.iter().map(|(partition, _)| *partition).collect();
    let next = offsets::load(&mut connection, &config.topics, &starts).await?;
    let skips = skips::pending(&mut connection, &config.topics, &partitions).await?;
    connection.close().await?;
    Ok((next, skips))
}

async fn skips_of(
    config: Arc<SinkConfig>,
    partitions: Vec<Partition>,
) -> Result<BTreeMap<(Partition, i64), String>, sqlx::Error> {
    let mut connection = connect(&config).await?;
    let skips = skips::pending(&mut connection, &config.topics, &partitions).await?;
    connection.close().await?;
    Ok(skips)
}

/// Opens a connection on which Postgres ends a waiting statement itself, before the time limit of the lookup is over.
async fn connect(config: &SinkConfig) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect(&config.database_url).await?;
    sqlx::raw_sql("SET application_name = 'device-manager sink lookups'; SET statement_timeout = '3s'")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// Runs requests to Postgres on a runtime of their own, because the runtime of the process may end meanwhile.
fn run_query<T>(query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, String> {
    let answer = async { tokio::time::timeout(ANSWER_TIMEOUT, query).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) };
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(sqlx::Error::Io).and_then(|runtime| runtime.block_on(answer)).map_err(|error| cause(&error))
}

/// The log of a partition in Kafka, and the next offset in Postgres.
struct Log {
    start: i64,
    end: i64,
    next: i64,
}

/// Returns where partitions are read from, or why they are not: Kafka no longer has the next record, or never had it. In the
/// latter case no partition of the topic is read. If one log was never that long, the records of the others are not the ones
/// that were read before either.
fn begin_offsets(topics: &Topics, logs: &BTreeMap<Partition, Log>) -> BTreeMap<Partition, Result<i64, String>> {
    let foreign_topics: BTreeMap<EventTopic, String> = logs
        .iter()
        .filter(|(_, log)| log.next > log.end)
        .map(|(partition, Log { end, next, .. })| {
            let (topic, number) = (partition.topic.full_name(topics), partition.number);
            let why = format!(
                "{topic} partition {number} ends at {end}, but the next offset to read is {next}: this is another or an older \
                 Kafka than the one that the database was filled from"
            );
            (partition.topic, why)
        })
        .collect();
    let begin_offset = |(partition, log): (&Partition, &Log)| {
        let (topic, number) = (partition.topic.full_name(topics), partition.number);
        let Log { start, next, .. } = log;
        let begin = match foreign_topics.get(&partition.topic) {
            Some(why) => Err(why.clone()),
            None if next < start => Err(format!(
                "messages are gone: {topic} partition {number} begins at {start}, but the next offset to read is {next}; \
                 restore the topic, or accept the loss with `device-manager sink accept-gap --topic {topic} \
                 --partition {number}`"
            )),
            None => Ok(*next),
        };
        (*partition, begin)
    };
    logs.iter().map(begin_offset).collect()
}
