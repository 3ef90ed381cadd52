//! What is written in one transaction.

use std::time::Duration;

use schemas::{
    dead_letter::DeadLetter,
    event::{Assignment, Document, Outcome},
    topic::Topics,
};

use store::reading::Row;

use crate::{letters::Letters, stage::Staged};

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

/// A topic the sink reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `readings`.
    Readings,
    /// `readings.bulk`: readings of large uploads and of replays.
    ReadingsBulk,
    /// `assignments`.
    Assignments,
    /// `documents`.
    Documents,
    /// `outcomes`.
    Outcomes,
    /// `dead-letters`.
    DeadLetters,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Readings, Self::ReadingsBulk, Self::Assignments, Self::Documents, Self::Outcomes, Self::DeadLetters];

    /// The topic's full name.
    #[must_use]
    pub fn topic(self, topics: &Topics) -> String {
        match self {
            Self::Readings => topics.readings(),
            Self::ReadingsBulk => topics.readings_bulk(),
            Self::Assignments => topics.assignments(),
            Self::Documents => topics.documents(),
            Self::Outcomes => topics.outcomes(),
            Self::DeadLetters => topics.dead_letters(),
        }
    }
}

/// Topics that are read and written apart from the others, by a consumer and a connection of their own: nothing of one lane waits
/// behind another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// What is to be seen soon.
    Live,
    /// What comes in masses.
    Bulk,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Live, Self::Bulk];

    /// The topics.
    #[must_use]
    pub const fn sources(self) -> &'static [Source] {
        match self {
            Self::Live => {
                &[Source::Readings, Source::Assignments, Source::Documents, Source::Outcomes, Source::DeadLetters]
            }
            Self::Bulk => &[Source::ReadingsBulk],
        }
    }

    /// The consumer group of the lane, where the sinks' is this one.
    #[must_use]
    pub fn group(self, group: &str) -> String {
        match self {
            Self::Live => group.to_owned(),
            Self::Bulk => format!("{group}-bulk"),
        }
    }
}

/// A partition the sink reads.
pub type Place = (Source, i32);

/// A message's position and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The partition.
    pub place: Place,
    /// The offset.
    pub offset: i64,
    /// The broker's time, microseconds.
    pub timestamp: i64,
}

/// A message that has been read.
pub struct Item {
    /// Where it lies.
    pub origin: Origin,
    /// What it is.
    pub body: Body,
}

/// What a message is.
pub enum Body {
    /// A reading.
    Reading(Box<Row>),
    /// A device command.
    Assignment(Box<Assignment>),
    /// A document.
    Document(Box<Document>),
    /// An outcome.
    Outcome(Outcome),
    /// A dead letter, to be listed.
    Letter(Box<DeadLetter>),
    /// Refused: to be produced as a dead letter before the transaction commits.
    Refused(Box<DeadLetter>),
}

/// What must stand in `sink_offsets` before, and what after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The partition.
    pub place: Place,
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
