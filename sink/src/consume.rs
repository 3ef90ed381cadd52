//! The reading half of the sink: a thread that polls Kafka from the offsets stored in Postgres.
//!
//! A partition is assigned to the consumer only after Postgres has returned its next offset, so no partition is ever read
//! from another position. Offsets are committed to Kafka to show the lag, and never read from it. The thread never blocks for
//! long: `lookups` runs the requests that take time. So the consumer is polled, and its group is answered, even if Kafka or
//! Postgres is not reachable.

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
    error::{KafkaError, KafkaResult},
    message::{Headers as _, OwnedMessage},
    types::RDKafkaErrorCode,
};
use schemas::codec::Fingerprint;
use service::{backoff::Backoff, rebootstrap::Rebootstrap};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    SinkConfig, SinkError,
    batch::Batch,
    decode::Decoder,
    item::{EventTopic, Lane, Origin, Partition},
    verdict::LaneHealth,
    writer::WriterEvent,
};
use group::Context;
use lookups::Lookups;
use owned::Owned;
use pending::{InFlight, Pending};
use watch::Watch;

mod events;
mod group;
mod lookups;
mod owned;
mod pending;
mod published;
mod watch;

pub(crate) struct Setup {
    pub(crate) lane: Lane,
    pub(crate) config: SinkConfig,
    pub(crate) decoder: Arc<RwLock<Decoder>>,
    pub(crate) batches: mpsc::Sender<Batch>,
    pub(crate) events: Receiver<WriterEvent>,
    pub(crate) generation: Arc<AtomicU64>,
    pub(crate) health: LaneHealth,
    pub(crate) shutdown: CancellationToken,
}

/// How long to wait for an answer from Kafka once the sink is asked to stop.
const ANSWER_AT_END: Duration = Duration::from_secs(1);
/// How long to wait for the writer once the sink is asked to stop.
const WRITE_AT_END: Duration = Duration::from_secs(10);
/// How often an idle sink compares its offsets with those in Postgres, and how often offsets are committed to Kafka.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// How long to wait for a message, or for the writer, before the events of the group and the writer are handled again.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// How long the writer may be busy before the partitions are paused, so that polling returns no more messages.
const BUSY_LONG: Duration = Duration::from_secs(1);
/// While messages arrive without a pause, the clock is read once for this many of them.
const LOOK_EVERY: usize = 64;

pub(crate) fn spawn(setup: Setup, runtime: Handle) -> Result<JoinHandle<Result<(), SinkError>>, SinkError> {
    let work = move || {
        let shutdown = setup.shutdown.clone();
        // Timers that are created on this thread require the runtime.
        let handle = runtime.clone();
        let _entered = handle.enter();
        let ended = Reader::start(setup, runtime).and_then(Reader::work);
        // The end of this thread stops the stage, whatever the reason.
        shutdown.cancel();
        ended
    };
    Ok(std::thread::Builder::new().name("sink-consumer".to_owned()).spawn(work)?)
}

/// What the reader does between two rounds of event handling.
enum State {
    /// It adds messages to the batch.
    Filling,
    /// The batch is due, but the writer has been busy with other batches since then.
    Offering { since: Instant },
    /// The writer has been busy for long: the partitions are paused, and the consumer is polled only for its group.
    Paused,
}

struct Reader {
    state: State,
    setup: Setup,
    runtime: Handle,
    consumer: BaseConsumer<Context>,
    rebootstrap: Rebootstrap,
    sources: BTreeMap<String, EventTopic>,
    lookups: Lookups,
    watch: Watch,
    owned: Owned,
    place_backoff: Backoff,
    /// Published schemas that a warning was logged for.
    unusable: HashSet<Fingerprint>,
    pending: Pending,
    in_flight: InFlight,
    generation: u64,
    /// Messages that arrived although all partitions were paused.
    early: VecDeque<OwnedMessage>,
    to_commit: BTreeMap<Partition, i64>,
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
        let sources: BTreeMap<String, EventTopic> =
            setup.lane.sources().iter().map(|source| (source.topic(&setup.config.topics), *source)).collect();
        consumer.subscribe(&sources.keys().map(String::as_str).collect::<Vec<_>>())?;
        let now = Instant::now();
        Ok(Self {
            state: State::Filling,
            rebootstrap: Rebootstrap::new(&setup.config.kafka.bootstrap),
            lookups: Lookups::new(&setup.config, setup.lane, runtime.clone())?,
            watch: Watch::new(),
            setup,
            runtime,
            consumer,
            sources,
            owned: Owned::default(),
            place_backoff: Backoff::default(),
            unusable: HashSet::new(),
            pending: Pending::default(),
            in_flight: InFlight::new(),
            generation: 0,
            early: VecDeque::new(),
            to_commit: BTreeMap::new(),
            committed_at: now,
            sent_at: now,
        })
    }

    fn work(mut self) -> Result<(), SinkError> {
        while !self.setup.shutdown.is_cancelled() {
            self.handle_events();
            self.state = match self.state {
                State::Filling => self.fill()?,
                State::Offering { since } => self.offer(since)?,
                State::Paused => self.offer_paused()?,
            };
            self.commit(IDLE_CHECK, CommitMode::Async);
        }
        self.end()
    }

    /// Sends the remaining batch, waits for the writer, and leaves the group.
    fn end(mut self) -> Result<(), SinkError> {
        self.send();
        let deadline = Instant::now() + WRITE_AT_END;
        while !self.in_flight.is_empty() && Instant::now() < deadline && self.hear_for_a_moment() {}
        self.answer_group();
        self.consumer.context().close();
        if self.consumer.fetch_metadata(None, ANSWER_AT_END).is_ok() {
            self.commit(Duration::ZERO, CommitMode::Sync);
        } else {
            // If a broker is not reachable, leaving the group takes up to a session timeout. The process does not wait for that.
            let consumer = self.consumer;
            std::thread::Builder::new().name("sink-leaves".to_owned()).spawn(move || drop(consumer))?;
        }
        Ok(())
    }

    /// Reads messages until the batch is due or no message has arrived for a moment.
    fn fill(&mut self) -> Result<State, SinkError> {
        loop {
            let limits = self.setup.config.batch;
            let message = match self.early.pop_front() {
                Some(message) => Some(message),
                // Messages that are available are read without a look at the clock.
                None => match self.poll(Duration::ZERO)? {
                    Some(message) => Some(message),
                    None => self.poll(self.pending.time_left(&limits).unwrap_or(IDLE_POLL))?,
                },
            };
            let Some(message) = message else { break };
            self.take(&message);
            let looks = self.pending.len().is_multiple_of(LOOK_EVERY);
            if self.pending.is_full(&limits) || (looks && (self.pending.is_due(&limits) || self.is_disturbed())) {
                break;
            }
        }
        Ok(if self.is_due() { State::Offering { since: Instant::now() } } else { State::Filling })
    }

    /// Whether the writer should get a batch. An idle sink sends an empty one now and then, to compare the offsets.
    fn is_due(&self) -> bool {
        let is_idle = self.pending.len() == 0 && self.in_flight.is_empty();
        self.pending.is_due(&self.setup.config.batch) || (is_idle && self.sent_at.elapsed() >= IDLE_CHECK)
    }

    /// Sends the batch to the writer if it accepts it. A busy writer slows the reader down, which is the back-pressure.
    fn offer(&mut self, since: Instant) -> Result<State, SinkError> {
        if self.send() {
            return Ok(State::Filling);
        }
        if since.elapsed() <= BUSY_LONG {
            return Ok(State::Offering { since });
        }
        let is_paused = self.turn(Consumer::pause);
        self.poll_early()?;
        Ok(if is_paused { State::Paused } else { State::Offering { since } })
    }

    /// Does the same as `offer` while the partitions are paused.
    fn offer_paused(&mut self) -> Result<State, SinkError> {
        if self.send() && self.turn(Consumer::resume) {
            return Ok(State::Filling);
        }
        self.poll_early()?;
        Ok(State::Paused)
    }

    /// Polls to answer the group while no message is expected. A message that arrives nevertheless is kept for later.
    fn poll_early(&mut self) -> Result<(), SinkError> {
        let message = self.poll(Duration::ZERO)?;
        self.early.extend(message);
        Ok(())
    }

    /// Whether there is something else to do than to read.
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
                        // The new generation looks up where the log begins, and reports what is gone.
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
                self.pending.push(item, value.len());
            }
            Err(why) => {
                self.owned.block(place, offset, why);
                self.remove(&[place]);
            }
        }
    }

    /// Sends the batch to the writer if it accepts it within `IDLE_POLL`. Returns true if it did, or if the writer has ended.
    fn send(&mut self) -> bool {
        let batches = self.setup.batches.clone();
        let permit = match self.runtime.block_on(tokio::time::timeout(IDLE_POLL, batches.reserve())) {
            Ok(Ok(permit)) => permit,
            Ok(Err(_ended)) => return true,
            Err(_busy) => return false,
        };
        let items = self.pending.take();
        let fence = self.owned.hand_over();
        self.sent_at = Instant::now();
        if !fence.is_empty() {
            let batch = Batch::new(self.generation, items, fence);
            self.in_flight.push(&batch);
            permit.send(batch);
        }
        true
    }

    /// Pauses or resumes all partitions. Returns whether that succeeded.
    fn turn(&self, how: fn(&BaseConsumer<Context>, &TopicPartitionList) -> KafkaResult<()>) -> bool {
        self.consumer.assignment().and_then(|all| how(&self.consumer, &all)).is_ok()
    }

    /// Pauses or resumes added partitions like the others: librdkafka keeps a pause beyond the assignment in which it was set.
    fn pause_as_others(&self, added: &TopicPartitionList) {
        let done = match self.state {
            State::Paused => self.consumer.pause(added),
            State::Filling | State::Offering { .. } => self.consumer.resume(added),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "added partitions could not be paused or resumed like the others");
        }
    }

    /// Removes partitions from the assignment of librdkafka. They still belong to this sink.
    fn remove(&mut self, places: &[Partition]) {
        let topics = &self.setup.config.topics;
        let mut list = TopicPartitionList::new();
        for (source, partition) in places {
            list.add_partition(&source.topic(topics), *partition);
        }
        group::give_back(&self.consumer, &list);
        let is_removed = |message: &OwnedMessage| list.find_partition(message.topic(), message.partition()).is_some();
        self.early.retain(|message| !is_removed(message));
    }

    fn commit(&mut self, pause: Duration, mode: CommitMode) {
        if self.to_commit.is_empty() || self.committed_at.elapsed() < pause {
            return;
        }
        let offsets = std::mem::take(&mut self.to_commit);
        self.committed_at = Instant::now();
        if let Ok(list) = self.list(offsets) {
            // Only to show the lag. The authoritative offsets are in Postgres.
            let _ = self.consumer.commit(&list, mode);
        }
    }

    fn list(&self, places: impl IntoIterator<Item = (Partition, i64)>) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for ((source, partition), next) in places {
            list.add_partition_offset(&source.topic(&self.setup.config.topics), partition, Offset::Offset(next))?;
        }
        Ok(list)
    }
}
