//! Why a replay ended early.

/// Why a replay ended early. Nothing has changed; it can be started again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Kafka does not answer, or refuses a request.
    #[error("Kafka does not answer")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// Postgres does not answer, or contains a value that this release does not know.
    #[error("asking Postgres")]
    Postgres(#[from] sqlx::Error),
    /// The chunks of a large upload cannot be read.
    #[error("reading a large upload")]
    Upload(#[from] normalizer::NormalizerError),
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
    /// The sinks have not written all readings that are on their topics.
    #[error(
        "the sinks did not write the readings of {partitions} partitions within {seconds} s, so that readings on their way would \
         count as added; /ready of the sinks says what they wait for"
    )]
    Sinks {
        /// The number of partitions that the sinks have not read to the end.
        partitions: usize,
        /// The time limit.
        seconds: u64,
    },
    /// A task of the replay ended abnormally, which is a defect.
    #[error("a task of the replay ended abnormally")]
    Task(#[from] tokio::task::JoinError),
}
