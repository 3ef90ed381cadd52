//! Consumer group membership.

use rdkafka::{
    bindings,
    client::{Client, ClientContext},
};

/// Returns whether this consumer is a member of its group: admitted, and not removed since. A member may own no partition if
/// the group has more members than there are partitions.
///
/// Under both group protocols librdkafka stores a number that is above 0 for members only: the group's generation (`classic`)
/// or the member's epoch (`consumer`).
#[must_use]
#[expect(unsafe_code, reason = "rdkafka has no safe wrapper for these three functions")]
pub fn is_member<C: ClientContext>(client: &Client<C>) -> bool {
    // SAFETY: the client is alive while it is borrowed. The metadata object belongs to this function and is read before it is
    // destroyed.
    unsafe {
        let metadata = bindings::rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return false;
        }
        let generation = bindings::rd_kafka_consumer_group_metadata_generation_id(metadata);
        bindings::rd_kafka_consumer_group_metadata_destroy(metadata);
        generation > 0
    }
}

/// Logs that a rebalance assigned partitions to this consumer or revoked some, because a member joined, left or failed. A
/// rebalance that changes nothing for this consumer is not logged.
pub fn log_rebalance(is_assigned: bool, count: usize) {
    if count > 0 {
        let (given, taken) = if is_assigned { (count, 0) } else { (0, count) };
        tracing::info!(given, taken, "the group has rebalanced");
    }
}
