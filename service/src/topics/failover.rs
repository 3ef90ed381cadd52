//! How long the partitions of a process that was killed wait for another one.

use std::time::Duration;

use rdkafka::{ClientConfig, admin::ConfigResource};

use super::{admin, error::TopicsError};
use crate::kafka::{HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS};

/// What the brokers say of sessions: the longest of all brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failover {
    /// `group.consumer.session.timeout.ms`, none where the brokers do not know the protocol `consumer`.
    pub consumer_session: Option<Duration>,
    /// `group.consumer.min.session.timeout.ms`, below which the one above cannot be set.
    pub consumer_session_min: Option<Duration>,
    /// `group.consumer.heartbeat.interval.ms`: so long it takes until the others hear of it.
    pub consumer_heartbeat: Option<Duration>,
    /// `group.min.session.timeout.ms` of the protocol `classic`.
    pub classic_session_min: Option<Duration>,
}

impl Failover {
    /// Under the protocol `consumer`: when the session has timed out, the others hear of it by their next heartbeat.
    #[must_use]
    pub fn consumer(&self) -> Option<Duration> {
        Some(self.consumer_session? + self.consumer_heartbeat.unwrap_or_default())
    }

    /// Under the protocol `classic`: when the session has timed out, one rebalance takes the partitions and a second one gives them
    /// away, and the others hear of each by their next heartbeat. None when the brokers do not allow a session as short as ours.
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

/// Asks every broker; none when none of them tells this user.
///
/// # Errors
/// [`TopicsError`].
pub async fn failover(client: &ClientConfig) -> Result<Option<Failover>, TopicsError> {
    admin::ask(client, async |cluster| {
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
