//! What the sink reads: messages of the event topics, and what each is.

use schemas::{
    dead_letter::DeadLetter,
    event::{Assignment, Document, Outcome},
    topic::Topics,
};
use store::reading::Row;

/// A topic the sink reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventTopic {
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

impl EventTopic {
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
    pub const fn sources(self) -> &'static [EventTopic] {
        match self {
            Self::Live => &[
                EventTopic::Readings,
                EventTopic::Assignments,
                EventTopic::Documents,
                EventTopic::Outcomes,
                EventTopic::DeadLetters,
            ],
            Self::Bulk => &[EventTopic::ReadingsBulk],
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
pub type Partition = (EventTopic, i32);

/// A message's position and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The partition.
    pub place: Partition,
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
