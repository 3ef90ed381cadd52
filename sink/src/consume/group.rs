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
pub(super) enum GroupEvent {
    /// An assignment. It is already acknowledged; the partitions have to be added.
    Given(Vec<(String, i32)>),
    /// A revocation, to be answered with [`give_back`].
    Revoked(TopicPartitionList),
}

/// Whether the reader still handles events.
enum Events {
    Heard(VecDeque<GroupEvent>),
    /// The consumer is closing.
    Closing,
}

pub(super) struct Context(Mutex<Events>);

impl Context {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Events::Heard(VecDeque::new())))
    }

    /// Returns the next event, in the order of arrival.
    pub(super) fn next(&self) -> Option<GroupEvent> {
        match &mut *self.events() {
            Events::Heard(events) => events.pop_front(),
            Events::Closing => None,
        }
    }

    /// From now on, events are answered as they arrive.
    pub(super) fn close(&self) {
        *self.events() = Events::Closing;
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_given = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        group::say_shared(is_given, list.count());
        if is_given && let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
            tracing::warn!(%error, "an assignment could not be acknowledged");
        }
        match &mut *self.events() {
            Events::Heard(events) if is_given => {
                let elements = list.elements();
                let partitions = elements.iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
                events.push_back(GroupEvent::Given(partitions));
            }
            Events::Heard(events) => events.push_back(GroupEvent::Revoked(list.clone())),
            Events::Closing if is_given => {}
            Events::Closing => give_back(consumer, list),
        }
    }
}

/// Answers a revocation. Only those of its partitions that were added can be unassigned, which may be none.
pub(super) fn give_back(consumer: &BaseConsumer<Context>, revoked: &TopicPartitionList) {
    let mut added = TopicPartitionList::new();
    let all = consumer.assignment().unwrap_or_default();
    for one in revoked.elements() {
        if all.find_partition(one.topic(), one.partition()).is_some() {
            added.add_partition(one.topic(), one.partition());
        }
    }
    if let Err(error) = consumer.incremental_unassign(&added) {
        tracing::warn!(%error, "partitions could not be unassigned");
    }
}

/// Adds partitions to the assignment, each to be read from its offset.
pub(super) fn add(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    if partitions.count() == 0 {
        return Ok(());
    }
    consumer.incremental_assign(partitions)
}
