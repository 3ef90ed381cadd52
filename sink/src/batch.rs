//! What is written in one transaction.

use std::time::Duration;

use crate::{
    dead_letters::Letters,
    item::{Item, Partition},
    staged::Staged,
};

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of their values.
    pub bytes: usize,
    /// Time since its first message.
    pub age: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { messages: 5_000, bytes: 8 << 20, age: Duration::from_millis(50) }
    }
}

/// What must stand in `sink_offsets` before, and what after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The partition.
    pub place: Partition,
    /// What must stand there.
    pub expected: i64,
    /// What will stand there.
    pub next: i64,
}

/// Messages and the offsets they move.
pub struct Batch {
    /// Batches of an older generation than the sink's are dropped.
    pub generation: u64,
    /// The messages.
    pub items: Vec<Item>,
    /// The readings among them, encoded.
    pub staged: Staged,
    /// What became of the dead letters among them.
    pub letters: Letters,
    /// All assigned partitions, also those that do not move: a restored database is noticed at once.
    pub fence: Vec<Fence>,
}

impl Batch {
    /// Encodes the readings among the items.
    #[must_use]
    pub fn new(generation: u64, items: Vec<Item>, fence: Vec<Fence>) -> Self {
        let staged = Staged::of(&items);
        Self { generation, items, staged, letters: Letters::default(), fence }
    }
}
