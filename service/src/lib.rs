//! The parts that every process of Device Manager shares, so that all processes start, report and stop in the same way:
//! [`telemetry`], [`shutdown`], [`health`] and its [`management`] port, [`kafka`] settings, the [`cluster`], [`kafka_error`]s,
//! [`group`] and [`rebootstrap`], [`topics`], a reader of compacted topics ([`compacted_topic`]) and of the published schemas
//! ([`schema_topic`]), [`secret`]s, [`backoff`], [`capped`] input and a [`clock`] that is set back. The parts that only HTTP services share are in [`http`].

pub mod backoff;
pub mod capped;
pub mod clock;
pub mod cluster;
pub mod compacted_topic;
#[cfg(feature = "fail-points")]
pub mod fail_point;
pub mod group;
pub mod health;
pub mod http;
pub mod kafka;
pub mod kafka_error;
pub mod management;
#[cfg(feature = "planted-bugs")]
pub mod planted_bug;
pub mod rebootstrap;
pub mod schema_topic;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod topics;

/// Whether this build has the steps of `fail_point`, which no release has.
pub const HAS_FAIL_POINTS: bool = cfg!(feature = "fail-points");
