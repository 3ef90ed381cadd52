//! What became of one raw record.

use super::Unknown;
use crate::{
    codec::{Event, Fingerprint, avro_record},
    format::RawTopic,
};

avro_record! {
    /// One event for each raw record, also for one without items: the ledger that shows that nothing was lost.
    pub struct Outcome {
        /// The raw topic.
        pub topic: RawTopic,
        /// Its incarnation.
        pub topic_epoch: i32,
        /// Its partition.
        pub partition: i32,
        /// The raw record's offset.
        pub offset: i64,
        /// How many items the payload held.
        pub items: i32,
        /// How many readings were made of them.
        pub readings: i32,
        /// How many device commands were made of them.
        pub commands: i32,
        /// How many items were refused.
        pub rejections: i32,
        /// The version of the mapping that judged.
        pub mapping_version: i32,
        /// When the broker appended the raw record, microseconds since the epoch.
        pub received_at: i64,
        /// What the payload held that the mapping does not know, each shape once.
        pub unknown: Vec<Unknown>,
    }
}

impl Event for Outcome {
    const NAME: &'static str = "devicemanager.Outcome";
    const SCHEMA: &'static str = include_str!("../../avro/outcome.avsc");
    const FINGERPRINT: Fingerprint = Fingerprint([0x64, 0x0d, 0x79, 0x41, 0x9b, 0xab, 0x07, 0x6a]);
}
