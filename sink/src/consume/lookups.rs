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
use service::rebootstrap::Rebootstrap;
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::{Builder, Handle};

use super::published;
use crate::{
    SinkConfig,
    item::{EventTopic, Lane, Partition},
    skips,
    write::offsets,
};
use store::error_class::cause;

/// The time limit for a request to Kafka, and for all requests to Postgres of one lookup.
const ANSWER_LONGEST: Duration = Duration::from_secs(4);

/// The result of a lookup.
pub(super) enum Answer {
    Placed(Result<Placed, String>),
    /// Skips that operators have requested for blocked partitions, and published schemas.
    Looked(Result<Looked, String>),
    Probed(Result<Probe, KafkaError>),
}

/// The result of a probe of Kafka.
pub(super) enum Probe {
    /// The end offsets of the logs.
    Ends(BTreeMap<Partition, i64>),
    /// A topic that does not exist. Only a sink without partitions looks for it.
    Missing(String),
}

/// Where partitions begin, and which of their records are skipped.
pub(super) struct Placed {
    pub(super) begin: BTreeMap<Partition, Result<i64, String>>,
    pub(super) skips: BTreeMap<(Partition, i64), String>,
}

/// What blocked partitions may wait for.
pub(super) struct Looked {
    pub(super) skips: BTreeMap<(Partition, i64), String>,
    pub(super) schemas: Vec<(Fingerprint, String)>,
}

/// The state of one kind of lookup: it runs, or it is due at a time.
enum Question {
    Out,
    Due(Instant),
}

impl Question {
    /// Returns whether the lookup is due now. If so, it counts as running.
    fn ask(&mut self) -> bool {
        match self {
            Self::Due(at) if *at <= Instant::now() => {
                *self = Self::Out;
                true
            }
            Self::Due(_) | Self::Out => false,
        }
    }
}

pub(super) struct Lookups {
    shared: Shared,
    runtime: Handle,
    rebootstrap: Rebootstrap,
    tell: Sender<Answer>,
    told: Receiver<Answer>,
    placing: Question,
    looking: Question,
    probing: Question,
}

#[derive(Clone)]
struct Shared {
    config: Arc<SinkConfig>,
    lane: Lane,
    client: Arc<BaseConsumer>,
}

impl Lookups {
    pub(super) fn new(config: &SinkConfig, lane: Lane, runtime: Handle) -> Result<Self, KafkaError> {
        let client = Arc::new(config.kafka.client().create()?);
        let (tell, told) = channel();
        let now = Instant::now();
        Ok(Self {
            shared: Shared { config: Arc::new(config.clone()), lane, client },
            runtime,
            rebootstrap: Rebootstrap::new(&config.kafka.bootstrap),
            tell,
            told,
            placing: Question::Due(now),
            looking: Question::Due(now),
            probing: Question::Due(now),
        })
    }

    /// Returns the next answer, if there is one.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        self.rebootstrap.check(self.shared.client.client());
        self.told.try_recv().ok()
    }

    /// Looks up where partitions begin. Returns whether the lookup was started.
    pub(super) fn ask_places(&mut self, places: &[Partition]) -> bool {
        let asks = !places.is_empty() && self.placing.ask();
        if asks {
            let places = places.to_vec();
            self.errand(move |shared| Answer::Placed(shared.place(&places)));
        }
        asks
    }

    /// Sets when places are looked up next, after the current lookup is answered.
    pub(super) fn placed(&mut self, again_in: Duration) {
        self.placing = Question::Due(Instant::now() + again_in);
    }

    /// Makes the next lookup of places due now.
    pub(super) fn hurry(&mut self) {
        if let Question::Due(at) = &mut self.placing {
            *at = Instant::now();
        }
    }

    /// Looks up whether blocked partitions can continue.
    pub(super) fn ask_blocked(&mut self, blocked: Vec<(Partition, i64, Option<Fingerprint>)>) {
        if !blocked.is_empty() && self.looking.ask() {
            self.errand(move |shared| Answer::Looked(shared.look(&blocked)));
        }
    }

    pub(super) fn looked(&mut self, again_in: Duration) {
        self.looking = Question::Due(Instant::now() + again_in);
    }

    /// Asks Kafka whether it answers, and where these logs end.
    pub(super) fn ask_kafka(&mut self, places: impl FnOnce() -> Vec<Partition>) {
        if self.probing.ask() {
            let places = places();
            self.errand(move |shared| Answer::Probed(shared.probe(&places)));
        }
    }

    pub(super) fn probed(&mut self, again_in: Duration) {
        self.probing = Question::Due(Instant::now() + again_in);
    }

    fn errand(&self, work: impl FnOnce(&Shared) -> Answer + Send + 'static) {
        let (shared, tell) = (self.shared.clone(), self.tell.clone());
        self.runtime.spawn_blocking(move || {
            // The receiver is gone if the reader has ended.
            let _ended = tell.send(work(&shared));
        });
    }
}

impl Shared {
    fn place(&self, places: &[Partition]) -> Result<Placed, String> {
        let topics = &self.config.topics;
        let silent = |_| "Kafka does not return where its logs begin and end".to_owned();
        self.find_leaders(places).map_err(silent)?;
        let starts = self.logs(places, Offset::Beginning).map_err(silent)?;
        let ends = self.logs(places, Offset::End).map_err(silent)?;
        let pairs: Vec<(Partition, i64)> = starts.into_iter().collect();
        let known = offsets_and_skips(self.config.clone(), pairs.clone());
        let (next, skips) = postgres(known)?;
        let logs: BTreeMap<Partition, Log> = pairs
            .into_iter()
            .map(|(place, start)| {
                let end = ends.get(&place).copied().unwrap_or(i64::MAX);
                (place, Log { start, end, next: next.get(&place).copied().unwrap_or(start) })
            })
            .collect();
        Ok(Placed { begin: begin(topics, &logs), skips })
    }

    fn look(&self, blocked: &[(Partition, i64, Option<Fingerprint>)]) -> Result<Looked, String> {
        let places: Vec<Partition> = blocked.iter().map(|(place, ..)| *place).collect();
        let skips = postgres(skips_of(self.config.clone(), places))?;
        let wants_schema = blocked.iter().any(|(_, _, fingerprint)| fingerprint.is_some());
        let schemas = if wants_schema {
            published::schemas(&self.config, ANSWER_LONGEST)
                .map_err(|_| "Kafka does not return the published schemas".to_owned())?
        } else {
            Vec::new()
        };
        Ok(Looked { skips, schemas })
    }

    fn probe(&self, places: &[Partition]) -> Result<Probe, KafkaError> {
        // Nothing else polls the events of this client.
        while self.client.poll(Duration::ZERO).is_some() {}
        if places.is_empty() {
            return Ok(self.missing()?.map_or_else(|| Probe::Ends(BTreeMap::new()), Probe::Missing));
        }
        self.find_leaders(places)?;
        self.logs(places, Offset::End).map(Probe::Ends)
    }

    /// Returns a topic of the lane that does not exist, if there is one.
    fn missing(&self) -> Result<Option<String>, KafkaError> {
        for source in self.lane.sources() {
            let name = source.topic(&self.config.topics);
            let metadata = self.client.fetch_metadata(Some(&name), ANSWER_LONGEST)?;
            if metadata.topics().iter().all(|topic| topic.partitions().is_empty()) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Finds the partition leaders. Must be called before [`Shared::logs`]: this client subscribes to nothing, so librdkafka
    /// would keep asking a broker that is gone.
    fn find_leaders(&self, places: &[Partition]) -> Result<(), KafkaError> {
        let sources: BTreeSet<EventTopic> = places.iter().map(|(source, _)| *source).collect();
        for source in sources {
            self.client.fetch_metadata(Some(&source.topic(&self.config.topics)), ANSWER_LONGEST)?;
        }
        Ok(())
    }

    /// Returns where the logs begin or end, with one request to each broker.
    fn logs(&self, places: &[Partition], which: Offset) -> Result<BTreeMap<Partition, i64>, KafkaError> {
        let topics = &self.config.topics;
        let mut list = TopicPartitionList::new();
        for (source, partition) in places {
            list.add_partition_offset(&source.topic(topics), *partition, which)?;
        }
        if places.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list = self.client.offsets_for_times(list, ANSWER_LONGEST)?;
        let mut found = BTreeMap::new();
        for place in places {
            if let Some(one) = list.find_partition(&place.0.topic(topics), place.1) {
                one.error()?;
                if let Offset::Offset(offset) = one.offset() {
                    found.insert(*place, offset);
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
    let places: Vec<Partition> = starts.iter().map(|(place, _)| *place).collect();
    let next = offsets::load(&mut connection, &config.topics, &starts).await?;
    let skips = skips::pending(&mut connection, &config.topics, &places).await?;
    connection.close().await?;
    Ok((next, skips))
}

async fn skips_of(
    config: Arc<SinkConfig>,
    places: Vec<Partition>,
) -> Result<BTreeMap<(Partition, i64), String>, sqlx::Error> {
    let mut connection = connect(&config).await?;
    let skips = skips::pending(&mut connection, &config.topics, &places).await?;
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
fn postgres<T>(question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, String> {
    let asked =
        async { tokio::time::timeout(ANSWER_LONGEST, question).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) };
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(sqlx::Error::Io).and_then(|runtime| runtime.block_on(asked)).map_err(|error| cause(&error))
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
fn begin(topics: &Topics, logs: &BTreeMap<Partition, Log>) -> BTreeMap<Partition, Result<i64, String>> {
    let foreign: BTreeMap<EventTopic, String> = logs
        .iter()
        .filter(|(_, log)| log.next > log.end)
        .map(|((source, partition), Log { end, next, .. })| {
            let topic = source.topic(topics);
            let why = format!(
                "{topic} partition {partition} ends at {end}, but the next offset to read is {next}: this is another or an older \
                 Kafka than the one that the database was filled from"
            );
            (*source, why)
        })
        .collect();
    let begin = |(place, log): (&Partition, &Log)| {
        let (topic, partition) = (place.0.topic(topics), place.1);
        let Log { start, next, .. } = log;
        let begin = match foreign.get(&place.0) {
            Some(why) => Err(why.clone()),
            None if next < start => Err(format!(
                "messages are gone: {topic} partition {partition} begins at {start}, but the next offset to read is {next}; \
                 restore the topic, or accept the loss with `device-manager sink accept-gap --topic {topic} \
                 --partition {partition}`"
            )),
            None => Ok(*next),
        };
        (*place, begin)
    };
    logs.iter().map(begin).collect()
}
