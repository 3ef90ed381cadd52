//! The Kafka topics: their names, and the settings on which the guarantees of the system depend.

use crate::format::RawTopic;

/// The names of all topics, each with the prefix of the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

/// A topic and its required configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The full name.
    pub name: String,
    /// The purpose of the topic, as `topics check` prints it.
    pub purpose: &'static str,
    /// Whether the topic has exactly one partition (`schemas`, `catalogues`), whatever number is requested for the topics.
    pub single_partition: bool,
    /// The required topic settings.
    pub settings: &'static [(&'static str, &'static str)],
}

/// [`crate::limit::MESSAGE_BYTES_MAX`] as a setting.
pub const MESSAGE_BYTES_MAX: &str = "16777216";

/// Each record has the broker's time. With the time of the producer, a producer with a wrong clock would be refused if it is ahead,
/// and its records would be deleted too early if it is behind.
const BROKERS_TIME: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

const RAW: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    BROKERS_TIME,
    ("max.message.bytes", MESSAGE_BYTES_MAX),
];
/// 30 days. It must be longer than the age of the oldest database dump that may be restored, because the sink then reads all events
/// since that dump again.
const EVENTS_KEPT_MS: &str = "2592000000";
/// 90 days.
const DEAD_LETTERS_KEPT_MS: &str = "7776000000";

const EVENTS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("retention.ms", EVENTS_KEPT_MS),
    ("retention.bytes", "-1"),
    BROKERS_TIME,
    ("max.message.bytes", MESSAGE_BYTES_MAX),
];
const DEAD_LETTERS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("retention.ms", DEAD_LETTERS_KEPT_MS),
    ("retention.bytes", "-1"),
    BROKERS_TIME,
    ("max.message.bytes", MESSAGE_BYTES_MAX),
];
const COMPACTED: &[(&str, &str)] =
    &[("cleanup.policy", "compact"), BROKERS_TIME, ("max.message.bytes", MESSAGE_BYTES_MAX)];

impl Topics {
    /// Creates the names of the topics with `prefix`, which may be empty.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Returns the full name of a raw topic.
    #[must_use]
    pub fn raw(&self, topic: RawTopic) -> String {
        self.named(topic.as_str())
    }

    /// Returns the raw topic with this full name.
    #[must_use]
    pub fn raw_of(&self, name: &str) -> Option<RawTopic> {
        name.strip_prefix(self.prefix.as_str()).and_then(RawTopic::from_word)
    }

    /// [`crate::event::Reading`] events, keyed by device.
    #[must_use]
    pub fn readings(&self) -> String {
        self.named("readings")
    }

    /// [`crate::event::Reading`] events of large uploads. The sink stores them separately, so that those of [`Topics::readings`]
    /// never wait for them.
    #[must_use]
    pub fn readings_bulk(&self) -> String {
        self.named("readings.bulk")
    }

    /// [`crate::event::Assignment`] events, keyed by device.
    #[must_use]
    pub fn assignments(&self) -> String {
        self.named("assignments")
    }

    /// [`crate::event::Document`] events, keyed by SHA-256.
    #[must_use]
    pub fn documents(&self) -> String {
        self.named("documents")
    }

    /// [`crate::event::Outcome`] events, keyed by raw partition.
    #[must_use]
    pub fn outcomes(&self) -> String {
        self.named("outcomes")
    }

    /// Refused items; see [`crate::dead_letter`].
    #[must_use]
    pub fn dead_letters(&self) -> String {
        self.named("dead-letters")
    }

    /// Avro schemas by fingerprint, compacted.
    #[must_use]
    pub fn schemas(&self) -> String {
        self.named("schemas")
    }

    /// The catalogue files with which normalizers have mapped, by revision and hash, compacted.
    #[must_use]
    pub fn catalogues(&self) -> String {
        self.named("catalogues")
    }

    /// Returns every topic with its required configuration.
    #[must_use]
    pub fn specs(&self) -> Vec<TopicSpec> {
        let spec = |name, purpose, settings| TopicSpec { name, purpose, single_partition: false, settings };
        let raw = RawTopic::ALL.iter().map(|topic| spec(self.raw(*topic), topic.purpose(), RAW));
        let others = [
            spec(self.readings(), "readings as Avro events", EVENTS),
            spec(self.readings_bulk(), "readings of large uploads as Avro events", EVENTS),
            spec(self.assignments(), "device commands as Avro events", EVENTS),
            spec(self.documents(), "documents as Avro events", EVENTS),
            spec(self.outcomes(), "the outcome of each raw record as an Avro event", EVENTS),
            spec(self.dead_letters(), "refused items with the reason", DEAD_LETTERS),
            TopicSpec {
                name: self.schemas(),
                purpose: "Avro schemas by fingerprint",
                single_partition: true,
                settings: COMPACTED,
            },
            TopicSpec {
                name: self.catalogues(),
                purpose: "catalogue files by revision",
                single_partition: true,
                settings: COMPACTED,
            },
        ];
        raw.chain(others).collect()
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
