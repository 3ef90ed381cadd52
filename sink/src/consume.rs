//! The reading half: a thread of its own that polls Kafka from the offsets in Postgres.
//!
//! Partitions are assigned only after Postgres said where to begin, so nothing is ever read from another place. Kafka's
//! committed offsets are written, to show the lag, and never read.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol},
    error::KafkaError,
    message::{Headers as _, OwnedMessage},
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use schemas::codec::Fingerprint;
use service::{backoff::Backoff, health::StageHealth, recall::Recall};
use sqlx::{Connection as _, PgConnection, error::DatabaseError};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{
    SinkConfig, SinkError,
    batch::{Batch, Fence, Item, Origin, Place, Source},
    decode::Decoder,
    pipeline::{News, Order},
    write::offsets,
};

mod published;

pub(crate) struct Setup {
    pub(crate) config: SinkConfig,
    pub(crate) decoder: Arc<RwLock<Decoder>>,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) news: Receiver<News>,
    pub(crate) generation: Arc<AtomicU64>,
    pub(crate) health: StageHealth,
    pub(crate) shutdown: CancellationToken,
}

/// The SQLSTATE of a table that is not there (PostgreSQL documentation, appendix A).
const UNDEFINED_TABLE: &str = "42P01";
const ANSWER_LONGEST: Duration = Duration::from_secs(10);
/// How long Kafka may take to answer once the sink was asked to stop.
const ANSWER_AT_END: Duration = Duration::from_secs(1);
/// A batch that takes longer is spoken of.
const WRITE_LONG: Duration = Duration::from_secs(3);
/// How often an idle sink compares its offsets with Postgres's, and how often offsets are committed to Kafka.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// How long an empty topic is waited for before the group and the writer are heard again.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// After how many messages that come without a pause the clock is looked at.
const LOOK_EVERY: usize = 64;

pub(crate) fn spawn(setup: Setup, runtime: Handle) -> Result<JoinHandle<Result<(), SinkError>>, SinkError> {
    let work = move || {
        let shutdown = setup.shutdown.clone();
        // Timers made on this thread belong to the runtime.
        let handle = runtime.clone();
        let _entered = handle.enter();
        let ended = Reader::start(setup, runtime).and_then(Reader::work);
        // Whatever ended this thread ends the stage.
        shutdown.cancel();
        ended
    };
    Ok(std::thread::Builder::new().name("sink-consumer".to_owned()).spawn(work)?)
}

/// What rebalances wish; carried out by the loop, which can wait for Postgres.
#[derive(Default)]
struct Wishes {
    assign: Vec<(String, i32)>,
    revoked: Vec<(String, i32)>,
    heard: bool,
}

#[derive(Default)]
struct Context(Mutex<Wishes>);

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions =
            list.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect::<Vec<_>>();
        let mut wishes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wishes.heard = true;
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Assigned later, by `Reader::assign`: librdkafka waits for the call.
            wishes.assign.extend(partitions);
            return;
        }
        wishes.assign.retain(|one| !partitions.contains(one));
        wishes.revoked.extend(partitions);
        let done = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "partitions could not be given back");
        }
    }
}

struct Reader {
    setup: Setup,
    runtime: Handle,
    consumer: BaseConsumer<Context>,
    recall: Recall,
    sources: BTreeMap<String, Source>,
    /// By partition: what the last batch left, and what is read next.
    positions: BTreeMap<Place, (i64, i64)>,
    items: Vec<Item>,
    bytes: usize,
    begun: Option<Instant>,
    generation: u64,
    stash: VecDeque<OwnedMessage>,
    paused: bool,
    seek: bool,
    retry_at: Instant,
    backoff: Backoff,
    assigned_once: bool,
    assign_waits: Option<String>,
    writer_waits: Option<String>,
    kafka_waits: Option<String>,
    /// The schema, and the message that needs it.
    schema_waits: Option<(Fingerprint, String)>,
    to_commit: BTreeMap<Place, i64>,
    committed_at: Instant,
    sent_at: Instant,
    started_at: Instant,
}

impl Reader {
    fn start(setup: Setup, runtime: Handle) -> Result<Self, SinkError> {
        let mut backoff = Backoff::default();
        let protocol = loop {
            match setup.config.kafka.group_protocol(ANSWER_LONGEST) {
                Ok(protocol) => break protocol,
                Err(_) if setup.shutdown.is_cancelled() => break service::kafka::GroupProtocol::Classic,
                Err(_) => {
                    setup.health.waiting("Kafka does not answer");
                    std::thread::sleep(backoff.next_wait());
                }
            }
        };
        setup.health.detail("group protocol", protocol.as_str());
        let consumer: BaseConsumer<Context> =
            setup.config.kafka.consumer(&setup.config.group, protocol).create_with_context(Context::default())?;
        let sources: BTreeMap<String, Source> =
            Source::ALL.into_iter().map(|source| (source.topic(&setup.config.topics), source)).collect();
        consumer.subscribe(&sources.keys().map(String::as_str).collect::<Vec<_>>())?;
        let now = Instant::now();
        Ok(Self {
            recall: Recall::new(&setup.config.kafka),
            setup,
            runtime,
            consumer,
            sources,
            positions: BTreeMap::new(),
            items: Vec::new(),
            bytes: 0,
            begun: None,
            generation: 0,
            stash: VecDeque::new(),
            paused: false,
            seek: false,
            retry_at: now,
            backoff: Backoff::default(),
            assigned_once: false,
            assign_waits: None,
            writer_waits: None,
            kafka_waits: None,
            schema_waits: None,
            to_commit: BTreeMap::new(),
            committed_at: now,
            sent_at: now,
            started_at: now,
        })
    }

    fn work(mut self) -> Result<(), SinkError> {
        while !self.setup.shutdown.is_cancelled() {
            self.hear();
            self.place();
            self.fill()?;
            self.send_when_due();
            self.commit(CommitMode::Async);
            self.report();
        }
        self.send();
        self.barrier();
        self.hear();
        self.committed_at = self.started_at;
        if self.consumer.fetch_metadata(None, ANSWER_AT_END).is_ok() {
            self.commit(CommitMode::Sync);
        } else {
            // Closing would wait a session's time for a broker that is away, to commit what is for the lag alone.
            std::mem::forget(self.consumer);
        }
        Ok(())
    }

    /// Takes in what the writer and the group said.
    fn hear(&mut self) {
        loop {
            match self.setup.news.try_recv() {
                Ok(News::Written(batch)) => {
                    self.writer_waits = None;
                    self.to_commit.extend(batch.fence.iter().map(|one| (one.place, one.next)));
                }
                Ok(News::Waiting(reason)) => {
                    if self.writer_waits.as_ref() != Some(&reason) {
                        tracing::warn!(reason, "the sink waits");
                    }
                    self.writer_waits = Some(reason);
                }
                Ok(News::Seek) => self.seek = true,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let revoked = std::mem::take(&mut self.wishes().revoked);
        for (topic, partition) in revoked {
            if let Some(source) = self.sources.get(&topic).copied() {
                let place = (source, partition);
                self.positions.remove(&place);
                self.to_commit.remove(&place);
                self.items.retain(|item| item.origin.place != place);
                self.stash.retain(|message| message.topic() != topic || message.partition() != partition);
            }
        }
    }

    fn wishes(&self) -> std::sync::MutexGuard<'_, Wishes> {
        self.consumer.context().0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins newly assigned partitions where Postgres says, and goes back there with all when told to.
    fn place(&mut self) {
        if Instant::now() < self.retry_at {
            return;
        }
        let (wished, heard) = {
            let wishes = self.wishes();
            (wishes.assign.clone(), wishes.heard)
        };
        let done = if self.seek {
            self.seek_all()
        } else if !wished.is_empty() {
            self.assign(&wished)
        } else {
            if heard && !self.assigned_once {
                // An empty assignment must be acknowledged as well.
                let _ = self.consumer.incremental_assign(&TopicPartitionList::new());
                self.assigned_once = true;
            }
            return;
        };
        match done {
            Ok(()) => {
                self.backoff.reset();
                self.assign_waits = None;
            }
            Err(reason) => {
                if self.assign_waits.as_ref() != Some(&reason) {
                    tracing::error!(reason, "the sink cannot begin to read");
                }
                self.assign_waits = Some(reason);
                self.retry_at = Instant::now() + self.backoff.next_wait();
            }
        }
    }

    fn assign(&mut self, wished: &[(String, i32)]) -> Result<(), String> {
        let places: Vec<Place> = wished
            .iter()
            .filter_map(|(topic, partition)| self.sources.get(topic).map(|source| (*source, *partition)))
            .collect();
        let next = self.next_offsets(&places)?;
        let list = self.list(next.iter().map(|(place, next)| (*place, *next)))?;
        let done = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => self.consumer.assign(&list),
        };
        done.map_err(|error| format!("the partitions could not be taken: {error}"))?;
        self.wishes().assign.retain(|one| !wished.contains(one));
        self.positions.extend(next.into_iter().map(|(place, next)| (place, (next, next))));
        self.assigned_once = true;
        Ok(())
    }

    fn seek_all(&mut self) -> Result<(), String> {
        self.generation = self.setup.generation.load(Ordering::SeqCst);
        self.items.clear();
        self.stash.clear();
        (self.bytes, self.begun, self.schema_waits) = (0, None, None);
        self.to_commit.clear();
        self.barrier();
        let places: Vec<Place> = self.positions.keys().copied().collect();
        let next = self.next_offsets(&places)?;
        let list = self.list(next.iter().map(|(place, next)| (*place, *next)))?;
        let failed = |error: KafkaError| format!("Kafka did not seek: {error}");
        let sought = self.consumer.seek_partitions(list, ANSWER_LONGEST).map_err(failed)?;
        for one in sought.elements() {
            one.error().map_err(failed)?;
        }
        self.positions = next.into_iter().map(|(place, next)| (place, (next, next))).collect();
        self.seek = false;
        Ok(())
    }

    /// Where Postgres says to go on; refused when Kafka has no such message any more, or never had.
    fn next_offsets(&self, places: &[Place]) -> Result<BTreeMap<Place, i64>, String> {
        let mut logs = Vec::with_capacity(places.len());
        for (source, partition) in places {
            let topic = source.topic(&self.setup.config.topics);
            let (start, end) = self
                .consumer
                .fetch_watermarks(&topic, *partition, ANSWER_LONGEST)
                .map_err(|_| "Kafka does not say where its logs begin".to_owned())?;
            logs.push(((*source, *partition), start, end));
        }
        let starts: Vec<(Place, i64)> = logs.iter().map(|(place, start, _)| (*place, *start)).collect();
        let setup = &self.setup.config;
        let load = async {
            let mut connection = PgConnection::connect(&setup.database_url).await?;
            let next = offsets::load(&mut connection, &setup.topics, &starts).await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(next)
        };
        let next = self
            .runtime
            .block_on(async { tokio::time::timeout(ANSWER_LONGEST, load).await })
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(|error| match error.as_database_error().and_then(DatabaseError::code).as_deref() {
                Some(UNDEFINED_TABLE) => "the tables are not there: start the sink once with --migrate".to_owned(),
                _ => "Postgres does not say where to go on".to_owned(),
            })?;
        for (place, start, end) in logs {
            let topic = place.0.topic(&setup.topics);
            let stored = next.get(&place).copied().unwrap_or(start);
            if stored < start {
                return Err(format!(
                    "messages are gone: {topic} partition {} begins at {start}, but {stored} is the next to be read; \
                     restore the topic, or raise next_offset in sink_offsets to accept the loss",
                    place.1
                ));
            }
            if stored > end {
                return Err(format!(
                    "{topic} partition {} ends at {end}, but {stored} is the next to be read: this is another or an \
                     older Kafka than the one the database was filled from",
                    place.1
                ));
            }
        }
        Ok(next.into_iter().collect())
    }

    fn list(&self, places: impl Iterator<Item = (Place, i64)>) -> Result<TopicPartitionList, String> {
        let mut list = TopicPartitionList::new();
        for ((source, partition), next) in places {
            list.add_partition_offset(&source.topic(&self.setup.config.topics), partition, Offset::Offset(next))
                .map_err(|error| format!("an offset cannot be used: {error}"))?;
        }
        Ok(list)
    }

    /// Reads messages until the batch is due or the topics are empty for a moment.
    fn fill(&mut self) -> Result<(), SinkError> {
        loop {
            if let Some((fingerprint, _)) = self.schema_waits {
                self.wait_for_schema(fingerprint);
                return Ok(());
            }
            let message = match self.stash.pop_front() {
                Some(message) => Some(message),
                // What is there is taken without a look at the clock.
                None => match self.poll(Duration::ZERO)? {
                    Some(message) => Some(message),
                    None => self.poll(self.time_left())?,
                },
            };
            let Some(message) = message else { return Ok(()) };
            self.take(message);
            if self.is_full() || (self.items.len().is_multiple_of(LOOK_EVERY) && self.is_due()) {
                return Ok(());
            }
        }
    }

    fn time_left(&self) -> Duration {
        let age = self.setup.config.batch.age;
        self.begun.map_or(IDLE_POLL, |begun| age.saturating_sub(begun.elapsed()))
    }

    fn poll(&mut self, wait: Duration) -> Result<Option<OwnedMessage>, SinkError> {
        match self.consumer.poll(wait) {
            None => Ok(None),
            Some(Ok(message)) => {
                self.kafka_waits = None;
                Ok(Some(message.detach()))
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::Fatal) => Err(error.into()),
                Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset) => {
                    // `next_offsets` finds out what is gone and says so.
                    self.setup.generation.fetch_add(1, Ordering::SeqCst);
                    self.seek = true;
                    Ok(None)
                }
                Some(_) | None => {
                    self.kafka_waits = Some(format!("Kafka: {error}"));
                    Ok(None)
                }
            },
        }
    }

    fn take(&mut self, message: OwnedMessage) {
        let Some(source) = self.sources.get(message.topic()).copied() else { return };
        let place = (source, message.partition());
        let Some((_, next)) = self.positions.get_mut(&place) else { return };
        if message.offset() < *next {
            return;
        }
        let origin = Origin {
            place,
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or_default().saturating_mul(1_000),
        };
        let value = message.payload().unwrap_or_default();
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect::<Vec<_>>()
        });
        let read = self.setup.decoder.read().unwrap_or_else(PoisonError::into_inner).item(
            origin,
            value,
            &headers.unwrap_or_default(),
        );
        match read {
            Ok(item) => {
                *next = message.offset() + 1;
                self.bytes += value.len();
                self.items.push(item);
                self.begun.get_or_insert_with(Instant::now);
            }
            Err(fingerprint) => {
                let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
                if self.schema_waits.is_none() {
                    tracing::warn!(%fingerprint, topic, partition, offset, "a schema is not published yet: the sink waits");
                }
                self.schema_waits = Some((fingerprint, format!("{topic}:{partition}:{offset}")));
                self.stash.push_front(message);
            }
        }
    }

    /// Looks a schema up; while it is not published, nothing more is read and no time is lost for what was.
    fn wait_for_schema(&mut self, fingerprint: Fingerprint) {
        self.send();
        let found = published::schemas(&self.setup.config, ANSWER_LONGEST).unwrap_or_default();
        {
            let mut decoder = self.setup.decoder.write().unwrap_or_else(PoisonError::into_inner);
            for (key, text) in found {
                if decoder.schemas.add(key, &text).is_err() {
                    tracing::warn!(fingerprint = %key, "a published schema is not usable");
                }
            }
            if decoder.schemas.knows(fingerprint) {
                self.schema_waits = None;
            }
        }
        let waits = self.schema_waits.is_some();
        self.pause(waits);
        if waits {
            self.idle();
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn pause(&mut self, pause: bool) {
        if self.paused != pause
            && let Ok(assignment) = self.consumer.assignment()
        {
            let done = if pause { self.consumer.pause(&assignment) } else { self.consumer.resume(&assignment) };
            self.paused = pause == done.is_ok();
        }
    }

    /// Serves the group while nothing may be read.
    fn idle(&mut self) {
        if let Ok(Some(message)) = self.poll(Duration::ZERO) {
            self.stash.push_back(message);
        }
    }

    fn is_full(&self) -> bool {
        let limits = &self.setup.config.batch;
        self.items.len() >= limits.messages || self.bytes >= limits.bytes
    }

    fn is_due(&self) -> bool {
        let is_old = |begun: Instant| begun.elapsed() >= self.setup.config.batch.age;
        self.is_full() || self.begun.is_some_and(is_old) || self.setup.shutdown.is_cancelled()
    }

    fn send_when_due(&mut self) {
        let check = self.sent_at.elapsed() >= IDLE_CHECK && !self.positions.is_empty();
        if self.is_due() || (check && self.items.is_empty()) {
            self.send();
        }
    }

    /// Hands the batch to the writer. A writer that is busy is the back-pressure.
    fn send(&mut self) {
        if self.seek || (self.items.is_empty() && self.sent_at.elapsed() < IDLE_CHECK) || self.positions.is_empty() {
            return;
        }
        let waiting_since = Instant::now();
        let orders = self.setup.orders.clone();
        let permit = loop {
            let reserve = tokio::time::timeout(Duration::from_millis(200), orders.reserve());
            match self.runtime.block_on(reserve) {
                Ok(Ok(permit)) => break permit,
                Ok(Err(_)) => return,
                Err(_) => {}
            }
            self.hear();
            if waiting_since.elapsed() > WRITE_LONG && self.writer_waits.is_none() {
                let reason = "Postgres has not answered for some seconds";
                tracing::warn!(reason, "the sink waits");
                self.writer_waits = Some(reason.to_owned());
            }
            self.report();
            if self.seek || self.setup.shutdown.is_cancelled() {
                return;
            }
            if waiting_since.elapsed() > Duration::from_secs(1) {
                self.pause(true);
                self.idle();
            }
        };
        let fence = self
            .positions
            .iter_mut()
            .map(|(place, (sent, next))| {
                let fence = Fence { place: *place, expected: *sent, next: *next };
                *sent = *next;
                fence
            })
            .collect();
        let items = std::mem::take(&mut self.items);
        permit.send(Order::Write(Batch::new(self.generation, items, fence)));
        (self.bytes, self.begun) = (0, None);
        self.sent_at = Instant::now();
        if self.schema_waits.is_none() {
            self.pause(false);
        }
    }

    /// Waits until the writer has dealt with everything before.
    fn barrier(&self) {
        let (answer, done) = oneshot::channel();
        let orders = self.setup.orders.clone();
        let asked = async {
            if orders.send(Order::Barrier(answer)).await.is_ok() {
                let _ = done.await;
            }
        };
        let _ = self.runtime.block_on(async { tokio::time::timeout(ANSWER_LONGEST, asked).await });
    }

    fn commit(&mut self, mode: CommitMode) {
        if self.to_commit.is_empty() || self.committed_at.elapsed() < IDLE_CHECK {
            return;
        }
        let offsets = std::mem::take(&mut self.to_commit);
        self.committed_at = Instant::now();
        if let Ok(list) = self.list(offsets.into_iter()) {
            // Only for the lag that others see; the offsets that count are in Postgres.
            let _ = self.consumer.commit(&list, mode);
        }
    }

    fn report(&mut self) {
        self.recall.look(self.consumer.client());
        if self.kafka_waits.is_some() && self.consumer.fetch_metadata(None, Duration::from_millis(500)).is_ok() {
            self.kafka_waits = None;
        }
        let schema = self
            .schema_waits
            .as_ref()
            .map(|(fingerprint, place)| format!("the schema {fingerprint} of the record {place} is not published yet"));
        let beginning = (!self.assigned_once && self.started_at.elapsed() < Duration::from_secs(10))
            .then(|| "waits for partitions".to_owned());
        let waits = [self.assign_waits.clone(), self.writer_waits.clone(), self.kafka_waits.clone(), schema, beginning];
        match waits.into_iter().flatten().next() {
            Some(reason) => self.setup.health.waiting(&reason),
            None => self.setup.health.ready(),
        }
    }
}
