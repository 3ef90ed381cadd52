//! A consumer and its group.

use rdkafka::{
    bindings,
    client::{Client, ClientContext},
};

/// Whether the group has admitted this consumer, and not put it out since. A member may own no partition: where a group has
/// more members than there are partitions.
///
/// Under both protocols librdkafka keeps the group's generation, or the member's epoch, which is above 0 for members only.
#[must_use]
#[expect(unsafe_code, reason = "rdkafka has no safe name for these three functions")]
pub fn is_member<C: ClientContext>(client: &Client<C>) -> bool {
    // SAFETY: the client is alive while it is borrowed. The metadata is ours to free, and is read before.
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

/// Says in the log that the group gave partitions to this consumer, or took some: with a member that joined, left or vanished. A
/// group also speaks where nothing changes for this consumer; then there is nothing to be said.
pub fn say_shared(is_given: bool, count: usize) {
    if count > 0 {
        let (given, taken) = if is_given { (count, 0) } else { (0, count) };
        tracing::info!(given, taken, "the group shares its partitions anew");
    }
}
