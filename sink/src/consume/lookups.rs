//! What takes time is asked elsewhere, so that the consumer is polled meanwhile: where Kafka's logs begin and end, where
//! Postgres says to go on, what is published, whether Kafka answers. Each question is out once at a time, and bounded.

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
use store::fault::cause;

/// How long each side may take for an answer.
const ANSWER_LONGEST: Duration = Duration::from_secs(4);

/// What came of a question.
pub(super) enum Answer {
    Placed(Result<Placed, String>),
    /// Blocked partitions that may be tried again, and schemas that are new.
    Looked(Result<Looked, String>),
    Probed(Result<Probe, KafkaError>),
}

/// What Kafka has.
pub(super) enum Probe {
    /// Where the logs end.
    Ends(BTreeMap<Partition, i64>),
    /// Of a sink that owns no partition, a topic that does not exist.
    Missing(String),
}

/// Where partitions begin.
pub(super) struct Placed {
    pub(super) begin: BTreeMap<Partition, Result<i64, String>>,
    pub(super) skips: BTreeMap<(Partition, i64), String>,
}

/// What blocked partitions wait for.
pub(super) struct Looked {
    pub(super) skips: BTreeMap<(Partition, i64), String>,
    pub(super) schemas: Vec<(Fingerprint, String)>,
}

/// When a question is asked.
enum Question {
    Out,
    Due(Instant),
}

impl Question {
    /// Whether to ask now; then it is out.
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

    /// The next answer, if there is one.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        self.rebootstrap.check(self.shared.client.client());
        self.told.try_recv().ok()
    }

    /// Where to begin. Whether it is being asked now.
    pub(super) fn ask_places(&mut self, places: &[Partition]) -> bool {
        let asks = !places.is_empty() && self.placing.ask();
        if asks {
            let places = places.to_vec();
            self.errand(move |shared| Answer::Placed(shared.place(&places)));
        }
        asks
    }

    /// The next time places are asked for, once this one is answered.
    pub(super) fn placed(&mut self, again_in: Duration) {
        self.placing = Question::Due(Instant::now() + again_in);
    }

    /// Places are to be asked for without a pause.
    pub(super) fn hurry(&mut self) {
        if let Question::Due(at) = &mut self.placing {
            *at = Instant::now();
        }
    }

    /// Whether blocked partitions may go on.
    pub(super) fn ask_blocked(&mut self, blocked: Vec<(Partition, i64, Option<Fingerprint>)>) {
        if !blocked.is_empty() && self.looking.ask() {
            self.errand(move |shared| Answer::Looked(shared.look(&blocked)));
        }
    }

    pub(super) fn looked(&mut self, again_in: Duration) {
        self.looking = Question::Due(Instant::now() + again_in);
    }

    /// Whether Kafka answers, and where these logs end.
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
            // Nobody listens any more when the reader has ended.
            let _ended = tell.send(work(&shared));
        });
    }
}

impl Shared {
    fn place(&self, places: &[Partition]) -> Result<Placed, String> {
        let topics = &self.config.topics;
        let silent = |_| "Kafka does not say where its logs begin".to_owned();
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
                .map_err(|_| "Kafka does not say which schemas are published".to_owned())?
        } else {
            Vec::new()
        };
        Ok(Looked { skips, schemas })
    }

    fn probe(&self, places: &[Partition]) -> Result<Probe, KafkaError> {
        // Nobody else takes this client's events.
        while self.client.poll(Duration::ZERO).is_some() {}
        if places.is_empty() {
            return Ok(self.missing()?.map_or_else(|| Probe::Ends(BTreeMap::new()), Probe::Missing));
        }
        self.find_leaders(places)?;
        self.logs(places, Offset::End).map(Probe::Ends)
    }

    /// A topic of the lane that is not there.
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

    /// Who leads, to be asked before [`Shared::logs`]: this client subscribes to nothing, so librdkafka would go on to ask a
    /// broker that is gone.
    fn find_leaders(&self, places: &[Partition]) -> Result<(), KafkaError> {
        let sources: BTreeSet<EventTopic> = places.iter().map(|(source, _)| *source).collect();
        for source in sources {
            self.client.fetch_metadata(Some(&source.topic(&self.config.topics)), ANSWER_LONGEST)?;
        }
        Ok(())
    }

    /// Where the logs begin or end, in one question to each broker.
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

/// A connection whose statements end by themselves where Postgres makes them wait: nobody waits that long for them.
async fn connect(config: &SinkConfig) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect(&config.database_url).await?;
    sqlx::raw_sql("SET application_name = 'device-manager sink lookups'; SET statement_timeout = '3s'")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// On a runtime of its own: the process's may end meanwhile.
fn postgres<T>(question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, String> {
    let asked =
        async { tokio::time::timeout(ANSWER_LONGEST, question).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) };
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(sqlx::Error::Io).and_then(|runtime| runtime.block_on(asked)).map_err(|error| cause(&error))
}

/// What Kafka has of a partition, and what Postgres wants next.
struct Log {
    start: i64,
    end: i64,
    next: i64,
}

/// Where partitions are read from; refused when Kafka does not have that record any more, or never had it. In the latter case none of
/// the topic is read: where one partition was never so long, what the others have is not what was read before either.
fn begin(topics: &Topics, logs: &BTreeMap<Partition, Log>) -> BTreeMap<Partition, Result<i64, String>> {
    let foreign: BTreeMap<EventTopic, String> = logs
        .iter()
        .filter(|(_, log)| log.next > log.end)
        .map(|((source, partition), Log { end, next, .. })| {
            let topic = source.topic(topics);
            let why = format!(
                "{topic} partition {partition} ends at {end}, but {next} is the next to be read: this is another or an older \
                 Kafka than the one the database was filled from"
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
                "messages are gone: {topic} partition {partition} begins at {start}, but {next} is the next to be read; \
                 restore the topic, or accept the loss with `device-manager sink accept-gap --topic {topic} \
                 --partition {partition}`"
            )),
            None => Ok(*next),
        };
        (*place, begin)
    };
    logs.iter().map(begin).collect()
}
