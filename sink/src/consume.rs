//! The reading half: a thread of its own that polls Kafka from the offsets in Postgres.
//!
//! Partitions are added only after Postgres said where to begin, so nothing is ever read from another place. Kafka's committed
//! offsets are written, to show the lag, and never read. The thread never waits long for anything: what takes time is asked
//! at the `desk`, so the consumer is polled, and its group answered, whatever is away.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc::Receiver,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    message::{Headers as _, OwnedMessage},
    types::RDKafkaErrorCode,
};
use schemas::codec::Fingerprint;
use service::{backoff::Backoff, recall::Recall};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    SinkConfig, SinkError,
    batch::{Batch, Lane, Origin, Place, Source},
    decode::Decoder,
    pipeline::News,
    verdict::LaneHealth,
};
use desk::Desk;
use gathered::{Gathered, Handed};
use group::Context;
use owned::Owned;
use watch::Watch;

mod desk;
mod gathered;
mod group;
mod owned;
mod published;
mod tend;
mod watch;

pub(crate) struct Setup {
    pub(crate) lane: Lane,
    pub(crate) config: SinkConfig,
    pub(crate) decoder: Arc<RwLock<Decoder>>,
    pub(crate) batches: mpsc::Sender<Batch>,
    pub(crate) news: Receiver<News>,
    pub(crate) generation: Arc<AtomicU64>,
    pub(crate) health: LaneHealth,
    pub(crate) shutdown: CancellationToken,
}

/// How long Kafka and the writer may take once the sink was asked to stop.
const ANSWER_AT_END: Duration = Duration::from_secs(1);
const WRITE_AT_END: Duration = Duration::from_secs(10);
/// How often an idle sink compares its offsets with Postgres's, and how often offsets are committed to Kafka.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// How long an empty topic is waited for before the group and the writer are heard again.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// How long the writer may be busy before the partitions are paused, so that polling brings no more of them.
const BUSY_LONG: Duration = Duration::from_secs(1);
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

struct Reader {
    setup: Setup,
    runtime: Handle,
    consumer: BaseConsumer<Context>,
    recall: Recall,
    sources: BTreeMap<String, Source>,
    desk: Desk,
    watch: Watch,
    owned: Owned,
    /// Places that the desk is asking for.
    asked: Vec<Place>,
    place_backoff: Backoff,
    /// Published schemas that were complained of.
    unusable: HashSet<Fingerprint>,
    gathered: Gathered,
    handed: Handed,
    generation: u64,
    /// Messages that came although all partitions were paused.
    stash: VecDeque<OwnedMessage>,
    paused: bool,
    to_commit: BTreeMap<Place, i64>,
    committed_at: Instant,
    sent_at: Instant,
}

impl Reader {
    fn start(setup: Setup, runtime: Handle) -> Result<Self, SinkError> {
        let protocol = setup.group_protocol(&runtime);
        setup.wait_for_postgres(&runtime)?;
        let group = setup.lane.group(&setup.config.group);
        setup.health.detail(["group-protocol", "bulk-group-protocol"], protocol.as_str());
        let consumer: BaseConsumer<Context> =
            setup.config.kafka.consumer(&group, protocol).create_with_context(Context::new())?;
        let sources: BTreeMap<String, Source> =
            setup.lane.sources().iter().map(|source| (source.topic(&setup.config.topics), *source)).collect();
        consumer.subscribe(&sources.keys().map(String::as_str).collect::<Vec<_>>())?;
        let now = Instant::now();
        Ok(Self {
            recall: Recall::new(&setup.config.kafka),
            desk: Desk::new(&setup.config, setup.lane, runtime.clone())?,
            watch: Watch::new(),
            setup,
            runtime,
            consumer,
            sources,
            owned: Owned::default(),
            asked: Vec::new(),
            place_backoff: Backoff::default(),
            unusable: HashSet::new(),
            gathered: Gathered::default(),
            handed: Handed::new(),
            generation: 0,
            stash: VecDeque::new(),
            paused: false,
            to_commit: BTreeMap::new(),
            committed_at: now,
            sent_at: now,
        })
    }

    fn work(mut self) -> Result<(), SinkError> {
        while !self.setup.shutdown.is_cancelled() {
            self.tend();
            self.fill()?;
            self.send_when_due()?;
            self.commit(IDLE_CHECK, CommitMode::Async);
        }
        self.end()
    }

    /// Hands over what was read, waits for the writer, and leaves the group.
    fn end(mut self) -> Result<(), SinkError> {
        self.send()?;
        let deadline = Instant::now() + WRITE_AT_END;
        while !self.handed.is_empty() && Instant::now() < deadline && self.hear_for_a_moment() {}
        self.answer_group();
        self.consumer.context().close();
        if self.consumer.fetch_metadata(None, ANSWER_AT_END).is_ok() {
            self.commit(Duration::ZERO, CommitMode::Sync);
        } else {
            // Leaving the group waits a session's time for a broker that is away; the process does not wait for that.
            let consumer = self.consumer;
            std::thread::Builder::new().name("sink-leaves".to_owned()).spawn(move || drop(consumer))?;
        }
        Ok(())
    }

    /// Reads messages until the batch is due or the topics are empty for a moment.
    fn fill(&mut self) -> Result<(), SinkError> {
        loop {
            let limits = self.setup.config.batch;
            let message = match self.stash.pop_front() {
                Some(message) => Some(message),
                // What is there is taken without a look at the clock.
                None => match self.poll(Duration::ZERO)? {
                    Some(message) => Some(message),
                    None => self.poll(self.gathered.time_left(&limits).unwrap_or(IDLE_POLL))?,
                },
            };
            let Some(message) = message else { return Ok(()) };
            self.take(&message);
            let looks = self.gathered.len().is_multiple_of(LOOK_EVERY);
            if self.gathered.is_full(&limits) || (looks && (self.gathered.is_due(&limits) || self.is_disturbed())) {
                return Ok(());
            }
        }
    }

    /// Whether something else than reading is to be done.
    fn is_disturbed(&self) -> bool {
        self.setup.shutdown.is_cancelled() || self.setup.generation.load(Ordering::SeqCst) != self.generation
    }

    fn poll(&mut self, wait: Duration) -> Result<Option<OwnedMessage>, SinkError> {
        match self.consumer.poll(wait) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(message.detach())),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => Err(error.into()),
            Some(Err(error)) => {
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset) => {
                        // Beginning anew finds out what is gone and says so.
                        self.setup.generation.fetch_add(1, Ordering::SeqCst);
                    }
                    Some(_) | None => self.watch.kafka_failed(format!("Kafka: {error}")),
                }
                Ok(None)
            }
        }
    }

    fn take(&mut self, message: &OwnedMessage) {
        let Some(source) = self.sources.get(message.topic()).copied() else { return };
        let place = (source, message.partition());
        let offset = message.offset();
        if self.owned.next(place).is_none_or(|next| offset < next) {
            return;
        }
        let Some(value) = message.payload() else {
            metrics::counter!("device_manager_sink_null_records_total").increment(1);
            self.owned.advance(place, offset + 1);
            return;
        };
        let timestamp = message.timestamp().to_millis().unwrap_or_default().saturating_mul(1_000);
        let origin = Origin { place, offset, timestamp };
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect::<Vec<_>>()
        });
        let decoder = self.setup.decoder.read().unwrap_or_else(PoisonError::into_inner);
        let read = decoder.item(origin, value, &headers.unwrap_or_default());
        let read = read.or_else(|why| match self.owned.skip(place, offset) {
            Some(reason) => Ok(decoder.skip(origin, value, reason)),
            None => Err(why),
        });
        drop(decoder);
        match read {
            Ok(item) => {
                self.owned.advance(place, offset + 1);
                self.gathered.push(item, value.len());
            }
            Err(why) => {
                self.owned.block(place, offset, why);
                self.remove(&[place]);
            }
        }
    }

    fn send_when_due(&mut self) -> Result<(), SinkError> {
        let check = self.sent_at.elapsed() >= IDLE_CHECK && self.gathered.len() == 0 && self.handed.is_empty();
        if check || self.gathered.is_due(&self.setup.config.batch) { self.send() } else { Ok(()) }
    }

    /// Hands the batch to the writer. A writer that is busy is the back-pressure.
    fn send(&mut self) -> Result<(), SinkError> {
        let waiting_since = Instant::now();
        let batches = self.setup.batches.clone();
        let permit = loop {
            let reserve = tokio::time::timeout(IDLE_POLL, batches.reserve());
            match self.runtime.block_on(reserve) {
                Ok(Ok(permit)) => break permit,
                Ok(Err(_)) => return Ok(()),
                Err(_) => {}
            }
            if self.is_disturbed() {
                return Ok(());
            }
            if waiting_since.elapsed() > BUSY_LONG {
                self.pause(true);
                let message = self.poll(Duration::ZERO)?;
                self.stash.extend(message);
            }
            self.tend();
        };
        let items = self.gathered.take();
        let fence = self.owned.hand_over();
        self.sent_at = Instant::now();
        if !fence.is_empty() {
            let batch = Batch::new(self.generation, items, fence);
            self.handed.push(&batch);
            permit.send(batch);
        }
        self.pause(false);
        Ok(())
    }

    fn pause(&mut self, pause: bool) {
        if self.paused != pause
            && let Ok(assignment) = self.consumer.assignment()
        {
            let done = if pause { self.consumer.pause(&assignment) } else { self.consumer.resume(&assignment) };
            self.paused = pause == done.is_ok();
        }
    }

    /// Partitions that are added are paused or read as the others are: librdkafka keeps a pause beyond the assignment in which it
    /// began.
    fn pause_as_others(&self, added: &TopicPartitionList) {
        let done = if self.paused { self.consumer.pause(added) } else { self.consumer.resume(added) };
        if let Err(error) = done {
            tracing::warn!(%error, self.paused, "partitions that were added are not paused or read as the others");
        }
    }

    /// Takes partitions out of what librdkafka reads; they stay this sink's.
    fn remove(&mut self, places: &[Place]) {
        let topics = &self.setup.config.topics;
        let mut list = TopicPartitionList::new();
        for (source, partition) in places {
            list.add_partition(&source.topic(topics), *partition);
        }
        group::give_back(&self.consumer, &list);
        let is_removed = |message: &OwnedMessage| list.find_partition(message.topic(), message.partition()).is_some();
        self.stash.retain(|message| !is_removed(message));
    }

    fn commit(&mut self, pause: Duration, mode: CommitMode) {
        if self.to_commit.is_empty() || self.committed_at.elapsed() < pause {
            return;
        }
        let offsets = std::mem::take(&mut self.to_commit);
        self.committed_at = Instant::now();
        if let Ok(list) = self.list(offsets) {
            // Only for the lag that others see; the offsets that count are in Postgres.
            let _ = self.consumer.commit(&list, mode);
        }
    }

    fn list(&self, places: impl IntoIterator<Item = (Place, i64)>) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for ((source, partition), next) in places {
            list.add_partition_offset(&source.topic(&self.setup.config.topics), partition, Offset::Offset(next))?;
        }
        Ok(list)
    }
}
