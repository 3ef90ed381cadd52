//! Why a replay or a reconciliation ended early.

/// Why a replay or a reconciliation ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Kafka does not answer, or refuses a request.
    #[error("Kafka does not answer")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// Postgres does not answer, or contains a value that this release does not know.
    #[error("asking Postgres")]
    Postgres(#[from] sqlx::Error),
    /// The chunks of a large upload cannot be read, or events cannot be published.
    #[error("reading an upload or publishing events")]
    Normalizer(#[from] normalizer::NormalizerError),
    /// A partition returned no record for this long, although it has more.
    #[error("{topic} partition {partition} returned no record after offset {offset} within {seconds} s")]
    Silent {
        /// The full name of the topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset of the next record.
        offset: i64,
        /// The time limit.
        seconds: u64,
    },
    /// The sinks have not written all events that are on their topics.
    #[error(
        "the sinks did not write the events of {partitions} partitions within {seconds} s, so that events on their way would count \
         as differences; /ready of the sinks says what they wait for"
    )]
    Sinks {
        /// The number of partitions that the sinks have not read to the end.
        partitions: usize,
        /// The time limit.
        seconds: u64,
    },
    /// The changes are published, and the sinks do not store them.
    #[error(
        "the changes are published, but the sinks stored none of {events} events within {seconds} s; /ready of the sinks says what \
         they wait for, and `device-manager replay --apply {replay}` waits for them again"
    )]
    NotStored {
        /// The replay.
        replay: i32,
        /// The number of events that the sinks have not read.
        events: u64,
        /// The time limit.
        seconds: u64,
    },
    /// There is no such replay.
    #[error("there is no replay {0}; `device-manager replay list` lists them")]
    Unknown(i32),
    /// Another process compares or applies the replay.
    #[error("another process works on the replay {0}")]
    InUse(i32),
    /// An operator has aborted the replay.
    #[error("the replay {0} was aborted; compare again to see what is left to do")]
    Aborted(i32),
    /// The replay has not compared all records.
    #[error("the replay {replay} is {state}; `device-manager replay --resume {replay}` completes the comparison")]
    NotCompared {
        /// The replay.
        replay: i32,
        /// Its state.
        state: &'static str,
    },
    /// The replay has ended already.
    #[error("the replay {replay} is {state} already")]
    Ended {
        /// The replay.
        replay: i32,
        /// Its state.
        state: &'static str,
    },
    /// The replay was compared with another mapping.
    #[error(
        "the replay {replay} was compared with mapping version {mapping} and catalogue revision {catalogue}, which are not the ones \
         in use; set CATALOGUE_FILE to the file of that revision, or compare again"
    )]
    OtherMapping {
        /// The replay.
        replay: i32,
        /// The version of its mapping.
        mapping: i32,
        /// The revision of its catalogue.
        catalogue: i32,
    },
    /// The replay was compared with another catalogue file of the same revision.
    #[error(
        "the replay {replay} was compared with another file of catalogue revision {catalogue}, whose SHA-256 is {sha256}; set \
         CATALOGUE_FILE to that file, or compare again"
    )]
    OtherFile {
        /// The replay.
        replay: i32,
        /// The revision of the catalogue.
        catalogue: i32,
        /// The SHA-256 of the file, in hexadecimal digits.
        sha256: String,
    },
    /// The scope of the replay has a word that this release does not know.
    #[error("the scope of the replay {0} is of another release; compare again")]
    Scope(i32),
    /// What is stored has changed since the comparison.
    #[error(
        "readings of the replay {replay} have changed in the database since the comparison ({differing} of them); nothing was applied; \
         compare again (the first receipts: {receipts})"
    )]
    Differs {
        /// The replay.
        replay: i32,
        /// The number of differences.
        differing: u64,
        /// The receipts of the first of them.
        receipts: String,
    },
    /// A raw record no longer exists.
    #[error("the raw record {topic}:{partition}:{offset} no longer exists; abort the replay and compare again")]
    RecordGone {
        /// The raw topic.
        topic: &'static str,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// The mapping no longer produces what it produced in the comparison.
    #[error(
        "the mapping makes something else of the raw record {topic}:{partition}:{offset} than in the comparison; abort the replay and \
         compare again"
    )]
    OtherResult {
        /// The raw topic.
        topic: &'static str,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// A task still uses the replay, which is a defect.
    #[error("a task of the replay did not end")]
    Busy,
    /// The normalizers read another incarnation of a raw topic.
    #[error(
        "the normalizers have committed offsets of {topic} for the topic epoch {committed}, not {given}: see TOPIC_EPOCH"
    )]
    Epoch {
        /// The full name of the topic.
        topic: String,
        /// The topic epoch of the commits.
        committed: u16,
        /// The topic epoch that was given.
        given: u16,
    },
    /// What is to be compared does not exist. The text says what exists.
    #[error("{0}")]
    Extent(String),
    /// The group of the normalizers has committed nothing.
    #[error(
        "the consumer group {group} has committed nothing, although there are {records} raw records: no normalizer has finished one, or \
         NORMALIZER_GROUP is not the group of the normalizers"
    )]
    NothingCommitted {
        /// The group that was given.
        group: String,
        /// The number of raw records that were to be compared.
        records: u64,
    },
    /// A task of the replay ended abnormally, which is a defect.
    #[error("a task of the replay ended abnormally")]
    Task(#[from] tokio::task::JoinError),
}
