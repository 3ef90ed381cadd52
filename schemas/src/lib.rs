//! The contract between the stages of Device Manager.
//!
//! Everything that one stage hands to another is defined here and nowhere else: the Avro events and their encoding ([`event`],
//! [`codec`]), the bodies of device commands ([`command`]), the Kafka topics and header names ([`topic`], [`raw`],
//! [`dead_letter`]), keyed hashes of payloads ([`content`]), receipts ([`receipt`]),
//! deterministic identity and version order ([`identity`], [`version`]), the closed list of reasons
//! ([`rejection`]). The crate does no I/O.

pub mod codec;
pub mod command;
pub mod content;
pub mod dead_letter;
pub mod event;
pub mod example;
pub mod format;
pub mod identity;
pub mod limit;
pub mod moment;
pub mod raw;
pub mod receipt;
pub mod rejection;
pub mod spelling;
pub mod topic;
pub mod upload;
pub mod version;
