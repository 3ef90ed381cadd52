//! The parts that every process of Device Manager shares, so that all processes start, report and stop in the same way:
//! [`telemetry`], [`shutdown`], [`health`] and its [`management`] port, [`kafka`] settings, the [`cluster`], [`kafka_error`]s,
//! [`group`] and [`rebootstrap`], [`topics`], a reader of compacted topics ([`compacted_topic`]) and of the published schemas
//! ([`schema_topic`]), [`secret`]s, [`backoff`] and [`capped`] input. The parts that only HTTP services share are in [`http`].

pub mod backoff;
pub mod capped;
pub mod cluster;
pub mod compacted_topic;
pub mod group;
pub mod health;
pub mod http;
pub mod kafka;
pub mod kafka_error;
pub mod management;
pub mod rebootstrap;
pub mod schema_topic;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod topics;
