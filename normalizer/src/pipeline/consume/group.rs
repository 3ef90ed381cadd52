//! Handles rebalances of the consumer group. A partition may be assigned only after Kafka was asked where to start it, so the
//! callback only records an assignment, and the loop completes it. Revoked partitions are unassigned at once.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::KafkaResult,
    types::RDKafkaRespErr,
};
use service::group;
use tokio::sync::Notify;

/// A partition, with the full name of its topic.
pub(in crate::pipeline) type TopicPartition = (String, i32);

/// The client context of a subscription.
#[derive(Default)]
pub(in crate::pipeline) struct GroupContext {
    changes: Mutex<Changes>,
    is_changed: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct Changes {
    /// The partitions of an assignment that this consumer has not acknowledged yet. An empty assignment must be acknowledged
    /// too.
    assigned: Option<Vec<TopicPartition>>,
    revoked: Vec<TopicPartition>,
}

impl ClientContext for GroupContext {}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions =
            list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect::<Vec<_>>();
        let is_assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        group::log_rebalance(is_assigned, list.count());
        let mut changes = self.changes();
        if is_assigned {
            changes.assigned.get_or_insert_default().extend(partitions);
        } else {
            if let Some(assigned) = &mut changes.assigned {
                assigned.retain(|partition| !partitions.contains(partition));
            }
            changes.revoked.extend(partitions);
            if let Err(error) = unassign(consumer, list) {
                tracing::warn!(%error, "revoked partitions could not be unassigned");
            }
        }
        self.is_changed.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

impl GroupContext {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a rebalance has changed something.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the partitions that were revoked since the last call.
    pub(super) fn revoked(&self) -> Vec<TopicPartition> {
        // This is called for each record, so the common case takes no lock.
        if !self.is_changed.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.is_changed.store(false, Ordering::Release);
        std::mem::take(&mut self.changes().revoked)
    }

    /// The partitions of the pending assignment, if there is one.
    pub(super) fn assigned(&self) -> Option<Vec<TopicPartition>> {
        self.changes().assigned.clone()
    }

    /// Whether an assignment is pending.
    pub(super) fn is_pending(&self) -> bool {
        self.changes().assigned.is_some()
    }

    /// Acknowledges the pending assignment, with the offset of each partition in the list. The group waits for this.
    pub(super) fn acknowledge_assignment<C: Consumer<Self>>(
        &self,
        consumer: &C,
        list: &TopicPartitionList,
    ) -> KafkaResult<()> {
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list)?,
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list)?,
        }
        self.changes().assigned = None;
        Ok(())
    }
}

fn unassign(consumer: &BaseConsumer<GroupContext>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}
