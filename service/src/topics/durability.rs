//! The durability that a 2xx response has on the cluster as it is configured.

use std::fmt;

use rdkafka::{ClientConfig, types::RDKafkaErrorCode};

use super::{admin, error::TopicsError, requirements};

/// The durability of the least durable of several topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// The number of replicas of each partition.
    pub replicas: i32,
    /// `min.insync.replicas`: the number of replicas that must have a record before it is acknowledged.
    pub min_in_sync: i32,
    /// `unclean.leader.election.enable`: whether a replica that lacks acknowledged records may become the leader.
    pub unclean_election: bool,
}

impl Durability {
    /// Returns how many brokers may be lost permanently without the loss of an acknowledged record.
    #[must_use]
    pub fn losses_survived(&self) -> i32 {
        if self.unclean_election { 0 } else { self.min_in_sync.min(self.replicas).saturating_sub(1).max(0) }
    }

    fn join(self, other: Self) -> Self {
        Self {
            replicas: self.replicas.min(other.replicas),
            min_in_sync: self.min_in_sync.min(other.min_in_sync),
            unclean_election: self.unclean_election || other.unclean_election,
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replicas, min_in_sync, .. } = self;
        write!(to, "{replicas} {} of each record", if *replicas == 1 { "copy" } else { "copies" })?;
        if *replicas > 1 {
            write!(to, ", {min_in_sync} of them before it is acknowledged")?;
        }
        if self.unclean_election {
            write!(to, ", unclean leader election is on")?;
        }
        match self.losses_survived() {
            0 => write!(to, ": the loss of a broker may lose acknowledged records"),
            1 => write!(to, ": the loss of one broker loses no acknowledged record"),
            losses => write!(to, ": the loss of {losses} brokers loses no acknowledged record"),
        }
    }
}

/// Returns the actual durability of the topics with these full names; `None` if `names` is empty.
///
/// # Errors
/// [`TopicsError`]: the cluster is unavailable, or a topic is missing.
pub async fn durability(client: &ClientConfig, names: &[String]) -> Result<Option<Durability>, TopicsError> {
    admin::with_cluster(client, async |cluster| {
        let mut all: Option<Durability> = None;
        for name in names {
            let missing =
                || TopicsError::Refused { topic: name.clone(), code: RDKafkaErrorCode::UnknownTopicOrPartition };
            let replicas = *cluster.replicas.get(name).ok_or_else(missing)?;
            let found = cluster.topic(name).await?.ok_or_else(missing)?;
            let value = |setting: &str| found.get(setting).and_then(|entry| entry.value.as_deref());
            let one = Durability {
                replicas,
                min_in_sync: value(requirements::MIN_IN_SYNC).and_then(|text| text.parse().ok()).unwrap_or(1),
                unclean_election: value(requirements::UNCLEAN_ELECTION) == Some("true"),
            };
            all = Some(all.map_or(one, |all| all.join(one)));
        }
        Ok(all)
    })
    .await
}
