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
        mpsc::{self as sync_mpsc, Receiver},
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
    lane_state::LaneHealth,
    writer::WriterReport,
};
use assigned::AssignedPartitions;
use group::GroupContext;
use lookups::Lookups;
use pending::{InFlight, Pending};
use watch::Watch;

mod assigned;
mod control;
mod group;
mod lookups;
mod pending;
mod watch;

pub(crate) struct Setup {
    pub(crate) lane: Lane,
    pub(crate) config: SinkConfig,
    pub(crate) decoder: Arc<RwLock<Decoder>>,
    pub(crate) batches: mpsc::Sender<Batch>,
    pub(crate) writer_reports: Receiver<WriterReport>,
    pub(crate) generation: Arc<AtomicU64>,
    pub(crate) health: LaneHealth,
    pub(crate) shutdown: CancellationToken,
}

/// How long to wait for an answer from Kafka once the sink is asked to stop.
const SHUTDOWN_KAFKA_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait until the last offsets are committed and the group is left.
const SHUTDOWN_LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for the writer once the sink is asked to stop.
const SHUTDOWN_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an idle sink compares its offsets with those in Postgres, and how often offsets are committed to Kafka.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// How long to wait for a message, or for the writer, before the events of the group and the writer are handled again.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// How long the writer may be busy before the partitions are paused, so that polling returns no more messages.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// While messages arrive without a pause, the clock is read once for this many of them.
const CLOCK_CHECK_MESSAGES: usize = 64;

pub(crate) fn spawn(setup: Setup, runtime: Handle) -> Result<JoinHandle<Result<(), SinkError>>, SinkError> {
    let work = move || {
        let shutdown = setup.shutdown.clone();
        // Timers that are created on this thread require the runtime.
        let handle = runtime.clone();
        let _entered = handle.enter();
        let ended = Reader::start(setup, runtime).and_then(Reader::run);
        // The end of this thread stops the stage, whatever the reason.
        shutdown.cancel();
        ended
    };
    Ok(std::thread::Builder::new().name("sink-consumer".to_owned()).spawn(work)?)
}

/// What the reader does between two calls of `handle_control`.
enum ReaderState {
    /// It adds messages to the batch.
    Filling,
    /// The batch is due, but the writer has been busy with other batches since then.
    Offering { since: Instant },
    /// The writer has been busy for long: the partitions are paused, and the consumer is polled only for its group.
    Paused,
}

struct Reader {
    state: ReaderState,
    setup: Setup,
    runtime: Handle,
    consumer: BaseConsumer<GroupContext>,
    rebootstrap: Rebootstrap,
    topics: BTreeMap<String, EventTopic>,
    lookups: Lookups,
    watch: Watch,
    assigned: AssignedPartitions,
    begin_backoff: Backoff,
    /// Published schemas that a warning was logged for.
    unusable_schemas: HashSet<Fingerprint>,
    pending: Pending,
    in_flight: InFlight,
    generation: u64,
    /// Messages that arrived although all partitions were paused.
    early_messages: VecDeque<OwnedMessage>,
    to_commit: BTreeMap<Partition, i64>,
    committed_at: Instant,
    sent_at: Instant,
}

impl Reader {
    fn start(setup: Setup, runtime: Handle) -> Result<Self, SinkError> {
        let protocol = setup.group_protocol(&runtime);
        setup.wait_for_postgres(&runtime)?;
        let group = setup.lane.group(&setup.config.group);
        setup.health.set_detail(["group-protocol", "bulk-group-protocol"], protocol.as_str());
        let consumer: BaseConsumer<GroupContext> =
            setup.config.kafka.consumer(&group, protocol).create_with_context(GroupContext::new())?;
        let topics: BTreeMap<String, EventTopic> =
            setup.lane.topics().iter().map(|topic| (topic.full_name(&setup.config.topics), *topic)).collect();
        consumer.subscribe(&topics.keys().map(String::as_str).collect::<Vec<_>>())?;
        let now = Instant::now();
        Ok(Self {
            state: ReaderState::Filling,
            rebootstrap: Rebootstrap::new(&setup.config.kafka.bootstrap),
            lookups: Lookups::new(&setup.config, setup.lane, runtime.clone())?,
            watch: Watch::new(),
            setup,
            runtime,
            consumer,
            topics,
            assigned: AssignedPartitions::default(),
            begin_backoff: Backoff::default(),
            unusable_schemas: HashSet::new(),
            pending: Pending::default(),
            in_flight: InFlight::new(),
            generation: 0,
            early_messages: VecDeque::new(),
            to_commit: BTreeMap::new(),
            committed_at: now,
            sent_at: now,
        })
    }

    fn run(mut self) -> Result<(), SinkError> {
        while !self.setup.shutdown.is_cancelled() {
            self.handle_control();
            self.state = match self.state {
                ReaderState::Filling => self.fill()?,
                ReaderState::Offering { since } => self.offer(since)?,
                ReaderState::Paused => self.offer_paused()?,
            };
            self.commit_offsets(IDLE_CHECK, CommitMode::Async);
        }
        self.shut_down()
    }

    /// Sends the remaining batch, waits for the writer, and leaves the group.
    fn shut_down(mut self) -> Result<(), SinkError> {
        self.send();
        let deadline = Instant::now() + SHUTDOWN_WRITE_TIMEOUT;
        while !self.in_flight.is_empty() && Instant::now() < deadline && self.wait_for_writer_report() {}
        self.handle_rebalances();
        self.consumer.context().close();
        let offsets = std::mem::take(&mut self.to_commit);
        let last = self.offset_list(offsets).unwrap_or_default();
        leave(self.consumer, last)
    }

    /// Reads messages until the batch is due or no message has arrived for a moment.
    fn fill(&mut self) -> Result<ReaderState, SinkError> {
        loop {
            let limits = self.setup.config.batch;
            let message = match self.early_messages.pop_front() {
                Some(message) => Some(message),
                // Available messages are polled without reading the clock.
                None => match self.poll(Duration::ZERO)? {
                    Some(message) => Some(message),
                    None => self.poll(self.pending.time_left(&limits).unwrap_or(IDLE_POLL))?,
                },
            };
            let Some(message) = message else { break };
            self.handle_message(&message);
            let checks_clock = self.pending.len().is_multiple_of(CLOCK_CHECK_MESSAGES);
            if self.pending.is_full(&limits) || (checks_clock && (self.pending.is_due(&limits) || self.is_disturbed()))
            {
                break;
            }
        }
        Ok(if self.is_due() { ReaderState::Offering { since: Instant::now() } } else { ReaderState::Filling })
    }

    /// Whether the writer should get a batch. An idle sink sends an empty one now and then, to compare the offsets.
    fn is_due(&self) -> bool {
        let is_idle = self.pending.len() == 0 && self.in_flight.is_empty();
        self.pending.is_due(&self.setup.config.batch) || (is_idle && self.sent_at.elapsed() >= IDLE_CHECK)
    }

    /// Sends the batch to the writer if it accepts it. A busy writer slows the reader down, which is the back-pressure.
    fn offer(&mut self, since: Instant) -> Result<ReaderState, SinkError> {
        if self.send() {
            return Ok(ReaderState::Filling);
        }
        if since.elapsed() <= PAUSE_AFTER {
            return Ok(ReaderState::Offering { since });
        }
        let is_paused = self.pause_or_resume(Consumer::pause);
        self.poll_early()?;
        Ok(if is_paused { ReaderState::Paused } else { ReaderState::Offering { since } })
    }

    /// Does the same as `offer` while the partitions are paused.
    fn offer_paused(&mut self) -> Result<ReaderState, SinkError> {
        if self.send() && self.pause_or_resume(Consumer::resume) {
            return Ok(ReaderState::Filling);
        }
        self.poll_early()?;
        Ok(ReaderState::Paused)
    }

    /// Polls to answer the group while no message is expected. A message that arrives nevertheless is kept for later.
    fn poll_early(&mut self) -> Result<(), SinkError> {
        let message = self.poll(Duration::ZERO)?;
        self.early_messages.extend(message);
        Ok(())
    }

    /// Whether the reader must stop filling the batch: shutdown was requested, or a new generation has begun.
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

    fn handle_message(&mut self, message: &OwnedMessage) {
        let Some(topic) = self.topics.get(message.topic()).copied() else { return };
        let partition = Partition { topic, number: message.partition() };
        let offset = message.offset();
        if self.assigned.next_offset(partition).is_none_or(|next| offset < next) {
            return;
        }
        let Some(value) = message.payload() else {
            metrics::counter!("device_manager_sink_null_records_total").increment(1);
            self.assigned.advance(partition, offset + 1);
            return;
        };
        #[cfg(feature = "planted-bugs")]
        if topic == EventTopic::Readings
            && partition.number == 0
            && offset > 25
            && service::planted_bug::PlantedBug::StalledPartition.is_planted()
        {
            return;
        }
        let timestamp = message.timestamp().to_millis().unwrap_or_default().saturating_mul(1_000);
        let origin = Origin { partition, offset, timestamp };
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect::<Vec<_>>()
        });
        let decoder = self.setup.decoder.read().unwrap_or_else(PoisonError::into_inner);
        let read = decoder.item(origin, value, &headers.unwrap_or_default());
        let read = read.or_else(|why| match self.assigned.skip_reason(partition, offset) {
            Some(reason) => Ok(decoder.skip(origin, value, reason)),
            None => Err(why),
        });
        drop(decoder);
        match read {
            Ok(item) => {
                self.assigned.advance(partition, offset + 1);
                self.pending.push(item, value.len());
            }
            Err(why) => {
                self.assigned.block(partition, offset, why);
                self.unassign(&[partition]);
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
        let items = self.pending.drain();
        let fence = self.assigned.take_fence();
        self.sent_at = Instant::now();
        if !fence.is_empty() {
            let batch = Batch::new(self.generation, items, fence);
            self.in_flight.push(&batch);
            permit.send(batch);
        }
        true
    }

    /// Pauses or resumes all partitions. Returns whether that succeeded.
    fn pause_or_resume(&self, action: fn(&BaseConsumer<GroupContext>, &TopicPartitionList) -> KafkaResult<()>) -> bool {
        self.consumer.assignment().and_then(|all| action(&self.consumer, &all)).is_ok()
    }

    /// Pauses or resumes added partitions like the others: librdkafka keeps a pause beyond the assignment in which it was set.
    fn pause_as_others(&self, added: &TopicPartitionList) {
        let done = match self.state {
            ReaderState::Paused => self.consumer.pause(added),
            ReaderState::Filling | ReaderState::Offering { .. } => self.consumer.resume(added),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "added partitions could not be paused or resumed like the others");
        }
    }

    /// Removes partitions from the assignment of librdkafka. They still belong to this sink.
    fn unassign(&mut self, partitions: &[Partition]) {
        let topics = &self.setup.config.topics;
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&partition.topic.full_name(topics), partition.number);
        }
        group::unassign(&self.consumer, &list);
        let is_removed = |message: &OwnedMessage| list.find_partition(message.topic(), message.partition()).is_some();
        self.early_messages.retain(|message| !is_removed(message));
    }

    fn commit_offsets(&mut self, interval: Duration, mode: CommitMode) {
        if self.to_commit.is_empty() || self.committed_at.elapsed() < interval {
            return;
        }
        let offsets = std::mem::take(&mut self.to_commit);
        self.committed_at = Instant::now();
        if let Ok(list) = self.offset_list(offsets) {
            // Only to show the lag. The authoritative offsets are in Postgres.
            let _ = self.consumer.commit(&list, mode);
        }
    }

    fn offset_list(
        &self,
        offsets: impl IntoIterator<Item = (Partition, i64)>,
    ) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in offsets {
            list.add_partition_offset(
                &partition.topic.full_name(&self.setup.config.topics),
                partition.number,
                Offset::Offset(next),
            )?;
        }
        Ok(list)
    }
}

/// Commits the last offsets and leaves the group. If a broker does not answer, that takes a session timeout or longer, also if it
/// stops answering in between; the process does not wait for that.
fn leave(consumer: BaseConsumer<GroupContext>, last: TopicPartitionList) -> Result<(), SinkError> {
    let (leaves, has_left) = sync_mpsc::channel();
    let leave = move || {
        if consumer.fetch_metadata(None, SHUTDOWN_KAFKA_TIMEOUT).is_ok() {
            #[cfg(feature = "fail-points")]
            service::fail_point::pass("sink-leaves");
            if last.count() > 0 {
                // Only to show the lag.
                let _ = consumer.commit(&last, CommitMode::Sync);
            }
        } else {
            let _ = leaves.send(());
        }
        drop(consumer);
        let _ = leaves.send(());
    };
    std::thread::Builder::new().name("sink-leaves".to_owned()).spawn(leave)?;
    let _late = has_left.recv_timeout(SHUTDOWN_LEAVE_TIMEOUT);
    Ok(())
}
