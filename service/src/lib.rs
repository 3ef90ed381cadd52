//! What every process of Device Manager needs to live, so that all boot, report and stop in the same way:
//! [`telemetry`], [`shutdown`], [`health`] and its [`management`] port, [`kafka`] settings, the [`cluster`], [`kafka_error`]s, [`group`] and
//! [`rebootstrap`], [`topics`], [`secret`]s, [`backoff`] and [`capped`] input. What HTTP services need beside that is in [`http`].

pub mod backoff;
pub mod capped;
pub mod cluster;
pub mod group;
pub mod health;
pub mod http;
pub mod kafka;
pub mod kafka_error;
pub mod management;
pub mod rebootstrap;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod topics;
