//! The messages that the sink reads from the event topics.

use schemas::{
    dead_letter::DeadLetter,
    event::{Assignment, Document, Outcome},
    receipt::ReceiptKey,
    topic::Topics,
};
use store::reading::Row;

/// A topic that the sink reads.
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
    /// All topics.
    pub const ALL: [Self; 6] =
        [Self::Readings, Self::ReadingsBulk, Self::Assignments, Self::Documents, Self::Outcomes, Self::DeadLetters];

    /// The full name of the topic.
    #[must_use]
    pub fn full_name(self, topics: &Topics) -> String {
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

/// A set of topics with a consumer and a database connection of its own, so that no lane has to wait for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Events that must become visible soon.
    Live,
    /// Events of large uploads and replays, which arrive in bulk.
    Bulk,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 2] = [Self::Live, Self::Bulk];

    /// The topics of the lane.
    #[must_use]
    pub const fn topics(self) -> &'static [EventTopic] {
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

    /// The consumer group of the lane, derived from the configured group.
    #[must_use]
    pub fn group(self, group: &str) -> String {
        match self {
            Self::Live => group.to_owned(),
            Self::Bulk => format!("{group}-bulk"),
        }
    }
}

/// A partition that the sink reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: EventTopic,
    /// The number of the partition.
    pub number: i32,
}

/// The position and the timestamp of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: i64,
    /// The timestamp that the broker assigned, in microseconds.
    pub timestamp: i64,
}

/// A decoded message.
pub struct Item {
    /// The position of the message.
    pub origin: Origin,
    /// The content of the message.
    pub body: Body,
}

/// The content of a message.
pub enum Body {
    /// A reading.
    Reading(Box<Row>),
    /// A device command.
    Assignment(Box<Assignment>),
    /// A document.
    Document(Box<Document>),
    /// An outcome.
    Outcome(Outcome),
    /// A dead letter that was read from `dead-letters`, to be listed in the table.
    DeadLetter(Box<ReceivedLetter>),
    /// A refused message. Its dead letter must be produced before the transaction commits.
    Refused(Box<DeadLetter>),
}

/// A dead letter that was read from `dead-letters`.
pub struct ReceivedLetter {
    /// The dead letter.
    pub letter: DeadLetter,
    /// The receipt of the payload, or of the item where each item has one; `None` if the raw record is not known.
    pub receipt: Option<String>,
}

impl ReceivedLetter {
    /// Adds the receipt.
    #[must_use]
    pub fn new(letter: DeadLetter, key: &ReceiptKey) -> Self {
        let receipt = letter.receipt_position().map(|position| key.issue(&position));
        Self { letter, receipt }
    }
}
