//! The rebalance events of the consumer group, and how they are answered.
//!
//! librdkafka pauses all partitions with each rebalance event until the event is answered, and takes no part in the next
//! rebalance before that. So each event is answered, even one without partitions, and no answer waits for Postgres. An
//! assignment is acknowledged without its partitions; the reader adds them when it knows where to begin.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use service::group;

/// A rebalance event.
pub(super) enum Rebalance {
    /// An assignment. It is already acknowledged; the partitions have to be added.
    Assigned(Vec<(String, i32)>),
    /// A revocation, to be answered with [`unassign`].
    Revoked(TopicPartitionList),
}

/// The rebalance events that the reader has not handled.
enum Queue {
    Open(VecDeque<Rebalance>),
    /// The consumer is closing.
    Closing,
}

pub(super) struct GroupContext(Mutex<Queue>);

impl GroupContext {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Queue::Open(VecDeque::new())))
    }

    /// Returns the next event, in the order of arrival.
    pub(super) fn next_rebalance(&self) -> Option<Rebalance> {
        match &mut *self.queue() {
            Queue::Open(rebalances) => rebalances.pop_front(),
            Queue::Closing => None,
        }
    }

    /// From now on, events are answered as they arrive.
    pub(super) fn close(&self) {
        *self.queue() = Queue::Closing;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for GroupContext {}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assignment = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        group::log_rebalance(is_assignment, list.count());
        if is_assignment && let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
            tracing::warn!(%error, "an assignment could not be acknowledged");
        }
        match &mut *self.queue() {
            Queue::Open(rebalances) if is_assignment => {
                let elements = list.elements();
                let partitions = elements.iter().map(|entry| (entry.topic().to_owned(), entry.partition())).collect();
                rebalances.push_back(Rebalance::Assigned(partitions));
            }
            Queue::Open(rebalances) => rebalances.push_back(Rebalance::Revoked(list.clone())),
            Queue::Closing if is_assignment => {}
            Queue::Closing => unassign(consumer, list),
        }
    }
}

/// Answers a revocation. Only those of its partitions that were added can be unassigned, which may be none.
pub(super) fn unassign(consumer: &BaseConsumer<GroupContext>, revoked: &TopicPartitionList) {
    let mut added = TopicPartitionList::new();
    let all = consumer.assignment().unwrap_or_default();
    for entry in revoked.elements() {
        if all.find_partition(entry.topic(), entry.partition()).is_some() {
            added.add_partition(entry.topic(), entry.partition());
        }
    }
    if let Err(error) = consumer.incremental_unassign(&added) {
        tracing::warn!(%error, "partitions could not be unassigned");
    }
}

/// Adds partitions to the assignment, each to be read from its offset.
pub(super) fn assign(consumer: &BaseConsumer<GroupContext>, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    if partitions.count() == 0 {
        return Ok(());
    }
    consumer.incremental_assign(partitions)
}
