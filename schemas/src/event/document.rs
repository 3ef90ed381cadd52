//! A document that a payload contained.

use super::SourceName;
use crate::{
    codec::{Event, Fingerprint, avro_record},
    format::Provider,
};

avro_record! {
    /// A document, such as an ECG report as PDF, keyed and stored by the SHA-256 of its bytes.
    pub struct Document {
        /// The SHA-256 of `content`.
        pub sha256: [u8; 32],
        /// The media type.
        pub content_type: String,
        /// The document's bytes.
        pub content: Vec<u8>,
        /// The provider that sent the document.
        pub provider: Provider,
        /// The credential's stable source name.
        pub source: SourceName,
        /// When the broker appended the raw record, microseconds since the epoch.
        pub received_at: i64,
        /// The id of the key with which the content is encrypted; absent while it is not encrypted.
        pub key_id: Option<String>,
    }
}

impl Event for Document {
    const NAME: &'static str = "devicemanager.Document";
    const SCHEMA: &'static str = include_str!("../../avro/document.avsc");
    const FINGERPRINT: Fingerprint = Fingerprint([0x67, 0xbf, 0x2d, 0xf8, 0x93, 0x6e, 0x24, 0x4e]);
}
