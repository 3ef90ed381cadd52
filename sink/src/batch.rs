//! A batch: the content of one transaction.

use std::time::Duration;

use crate::{
    dead_letters::ProducedDeadLetters,
    encoded_readings::EncodedReadings,
    item::{Item, Partition},
};

/// The limits of a batch. It is due when it reaches the first of them.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// The number of messages.
    pub messages: usize,
    /// The total size of the message values, in bytes.
    pub bytes: usize,
    /// The time since the first message was added.
    pub age: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { messages: 5_000, bytes: 8 << 20, age: Duration::from_millis(50) }
    }
}

/// The next offset of a partition in `sink_offsets`, before and after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The partition.
    pub partition: Partition,
    /// The offset that must be stored before the batch.
    pub expected: i64,
    /// The offset that is stored after the batch.
    pub next: i64,
}

/// Messages, and the offsets that they advance.
pub struct Batch {
    /// The reader's generation. The writer drops batches of older generations.
    pub generation: u64,
    /// The messages.
    pub items: Vec<Item>,
    /// The readings among the messages, encoded for COPY.
    pub encoded: EncodedReadings,
    /// The dead letters that were produced for the messages, and their delivery state.
    pub dead_letters: ProducedDeadLetters,
    /// All partitions whose next offset is known, including those that do not advance: so a restored database is noticed at once.
    pub fence: Vec<Fence>,
}

impl Batch {
    /// Encodes the readings among the items.
    #[must_use]
    pub fn new(generation: u64, items: Vec<Item>, fence: Vec<Fence>) -> Self {
        let encoded = EncodedReadings::of(&items);
        Self { generation, items, encoded, dead_letters: ProducedDeadLetters::default(), fence }
    }
}
