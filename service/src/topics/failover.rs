//! How long the partitions of a killed process wait until another process takes them over.

use std::time::Duration;

use rdkafka::{ClientConfig, admin::ConfigResource};

use super::{admin, error::TopicsError};
use crate::kafka::{HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS};

/// The session settings of the brokers; the longest of all brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failover {
    /// `group.consumer.session.timeout.ms`; `None` if the brokers do not support the protocol `consumer`.
    pub consumer_session: Option<Duration>,
    /// `group.consumer.min.session.timeout.ms`, the lower limit of the session timeout above.
    pub consumer_session_min: Option<Duration>,
    /// `group.consumer.heartbeat.interval.ms`: the time until the other members learn of a new assignment.
    pub consumer_heartbeat: Option<Duration>,
    /// `group.min.session.timeout.ms` of the protocol `classic`.
    pub classic_session_min: Option<Duration>,
}

impl Failover {
    /// Returns the failover time under the protocol `consumer`: the session timeout, and one heartbeat until the other members
    /// learn of it.
    #[must_use]
    pub fn consumer(&self) -> Option<Duration> {
        Some(self.consumer_session? + self.consumer_heartbeat.unwrap_or_default())
    }

    /// Returns the failover time under the protocol `classic`: the session timeout and two rebalances. The first rebalance
    /// revokes the partitions, the second assigns them; the other members learn of each with their next heartbeat. `None` if
    /// the brokers do not allow a session timeout as short as [`SESSION_TIMEOUT_MS`].
    #[must_use]
    pub fn classic(&self) -> Option<Duration> {
        let session = Duration::from_millis(SESSION_TIMEOUT_MS);
        let allowed = self.classic_session_min.is_none_or(|min| min <= session);
        allowed.then(|| session + 2 * Duration::from_millis(HEARTBEAT_INTERVAL_MS))
    }

    fn of(found: &ConfigResource) -> Self {
        let duration = |setting: &str| {
            let value = found.get(setting).and_then(|entry| entry.value.as_deref());
            value.and_then(|text| text.parse().ok()).map(Duration::from_millis)
        };
        Self {
            consumer_session: duration("group.consumer.session.timeout.ms"),
            consumer_session_min: duration("group.consumer.min.session.timeout.ms"),
            consumer_heartbeat: duration("group.consumer.heartbeat.interval.ms"),
            classic_session_min: duration("group.min.session.timeout.ms"),
        }
    }

    fn longest(self, other: Self) -> Self {
        Self {
            consumer_session: self.consumer_session.max(other.consumer_session),
            consumer_session_min: self.consumer_session_min.max(other.consumer_session_min),
            consumer_heartbeat: self.consumer_heartbeat.max(other.consumer_heartbeat),
            classic_session_min: self.classic_session_min.max(other.classic_session_min),
        }
    }
}

/// Asks every broker for its session settings; `None` if this user may not read any of them.
///
/// # Errors
/// [`TopicsError`].
pub async fn failover(client: &ClientConfig) -> Result<Option<Failover>, TopicsError> {
    admin::with_cluster(client, async |cluster| {
        let mut all: Option<Failover> = None;
        for broker in &cluster.brokers {
            if let Some(found) = cluster.broker(*broker).await? {
                let one = Failover::of(&found);
                all = Some(all.map_or(one, |all| all.longest(one)));
            }
        }
        Ok(all)
    })
    .await
}
