//! The outcome of one raw record.

use super::Unknown;
use crate::{
    codec::{Event, Fingerprint, avro_record},
    format::RawTopic,
};

avro_record! {
    /// The outcome of one raw record: counts of its items, readings, commands and rejections. Every raw record has an outcome, even
    /// one without items, so that the outcomes show that nothing was lost.
    pub struct Outcome {
        /// The raw topic.
        pub topic: RawTopic,
        /// The epoch of the raw topic, which an operator raises when the topic is created anew.
        pub topic_epoch: i32,
        /// The partition of the raw record.
        pub partition: i32,
        /// The offset of the raw record.
        pub offset: i64,
        /// The number of items in the payload.
        pub items: i32,
        /// The number of readings made from the items.
        pub readings: i32,
        /// The number of device commands made from the items.
        pub commands: i32,
        /// The number of items that were refused.
        pub rejections: i32,
        /// The version of the mapping that read the payload.
        pub mapping_version: i32,
        /// When the broker appended the raw record, microseconds since the epoch.
        pub received_at: i64,
        /// What the payload contained that the mapping does not know, each shape once.
        pub unknown: Vec<Unknown>,
        /// The revision of the installation's own catalogue with which the payload was mapped; 0 without one.
        pub catalogue_revision: i32,
        /// The number of the replay that published the event; absent in events of the normalizer.
        pub replay: Option<i32>,
    }
}

impl Event for Outcome {
    const NAME: &'static str = "devicemanager.Outcome";
    const SCHEMA: &'static str = include_str!("../../avro/outcome.avsc");
    const FINGERPRINT: Fingerprint = Fingerprint([0x90, 0x0c, 0x3b, 0x0a, 0xbd, 0xc8, 0xb4, 0x44]);
}
