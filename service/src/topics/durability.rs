//! What a 2xx is worth on the cluster as it is.

use std::fmt;

use rdkafka::{ClientConfig, types::RDKafkaErrorCode};

use super::{admin, error::TopicsError, requirements};

/// What the least durable of some topics has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// How many copies there are of each record.
    pub copies: i32,
    /// In how many of them a record is when it is acknowledged.
    pub min_in_sync: i32,
    /// Whether a copy that lacks acknowledged records may lead.
    pub unclean_election: bool,
}

impl Durability {
    /// How many brokers may be lost for good before an acknowledged record may be.
    #[must_use]
    pub fn losses_survived(&self) -> i32 {
        if self.unclean_election { 0 } else { self.min_in_sync.min(self.copies).saturating_sub(1).max(0) }
    }

    fn join(self, other: Self) -> Self {
        Self {
            copies: self.copies.min(other.copies),
            min_in_sync: self.min_in_sync.min(other.min_in_sync),
            unclean_election: self.unclean_election || other.unclean_election,
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copies, min_in_sync, .. } = self;
        write!(to, "{copies} {} of each record", if *copies == 1 { "copy" } else { "copies" })?;
        if *copies > 1 {
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

/// What the topics of these full names really have; none when there are no topics.
///
/// # Errors
/// [`TopicsError`]: the cluster is away, or a topic is missing.
pub async fn durability(client: &ClientConfig, names: &[String]) -> Result<Option<Durability>, TopicsError> {
    admin::ask(client, async |cluster| {
        let mut all: Option<Durability> = None;
        for name in names {
            let missing =
                || TopicsError::Refused { topic: name.clone(), code: RDKafkaErrorCode::UnknownTopicOrPartition };
            let copies = *cluster.copies.get(name).ok_or_else(missing)?;
            let found = cluster.topic(name).await?.ok_or_else(missing)?;
            let value = |setting: &str| found.get(setting).and_then(|entry| entry.value.as_deref());
            let one = Durability {
                copies,
                min_in_sync: value(requirements::MIN_IN_SYNC).and_then(|text| text.parse().ok()).unwrap_or(1),
                unclean_election: value(requirements::UNCLEAN_ELECTION) == Some("true"),
            };
            all = Some(all.map_or(one, |all| all.join(one)));
        }
        Ok(all)
    })
    .await
}
