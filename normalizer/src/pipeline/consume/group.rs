//! What the group says of who reads what. A partition is taken only after it was asked where to begin, so the callback takes
//! note and the loop does the rest; what is revoked is given back at once.

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

/// A partition by the full name of its topic.
pub(in crate::pipeline) type Named = (String, i32);

/// The context of a subscription.
#[derive(Default)]
pub(in crate::pipeline) struct Group {
    changes: Mutex<Changes>,
    is_changed: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct Changes {
    /// The partitions that the group waits for this consumer to take; also none of them must be taken.
    assigned: Option<Vec<Named>>,
    revoked: Vec<Named>,
}

impl ClientContext for Group {}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let named = list.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect::<Vec<_>>();
        let is_given = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        group::say_shared(is_given, list.count());
        let mut changes = self.changes();
        if is_given {
            changes.assigned.get_or_insert_default().extend(named);
        } else {
            if let Some(assigned) = &mut changes.assigned {
                assigned.retain(|one| !named.contains(one));
            }
            changes.revoked.extend(named);
            if let Err(error) = give_back(consumer, list) {
                tracing::warn!(%error, "partitions could not be given back");
            }
        }
        self.is_changed.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

impl Group {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until there is something new.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What was revoked since it was asked last.
    pub(super) fn revoked(&self) -> Vec<Named> {
        // Asked before each record.
        if !self.is_changed.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.is_changed.store(false, Ordering::Release);
        std::mem::take(&mut self.changes().revoked)
    }

    /// What waits to be taken.
    pub(super) fn assigned(&self) -> Option<Vec<Named>> {
        self.changes().assigned.clone()
    }

    /// Whether something waits to be taken.
    pub(super) fn is_pending(&self) -> bool {
        self.changes().assigned.is_some()
    }

    /// Takes what waits, each from the offset in the list: only that tells the group that it is taken.
    pub(super) fn take<C: Consumer<Self>>(&self, consumer: &C, list: &TopicPartitionList) -> KafkaResult<()> {
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list)?,
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list)?,
        }
        self.changes().assigned = None;
        Ok(())
    }
}

fn give_back(consumer: &BaseConsumer<Group>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}
