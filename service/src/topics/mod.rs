//! Creates the topics that the contract specifies, checks existing ones against it, and reports the durability and failover of
//! the cluster.

mod admin;
mod durability;
mod error;
mod failover;
mod requirements;

use std::cmp::Ordering;

use rdkafka::{
    ClientConfig,
    admin::{NewTopic, TopicReplication},
    types::RDKafkaErrorCode,
};
use schemas::topic::{TopicSpec, Topics};

pub use durability::{Durability, durability};
pub use error::TopicsError;
pub use failover::{Failover, failover};

use admin::ClusterAdmin;
use requirements::Difference;

/// Returns the message that a stage reports for a topic that does not exist.
#[must_use]
pub fn not_there(name: &str) -> String {
    format!("the topic {name} does not exist: run `device-manager topics apply`")
}

/// The size of new topics, and the number of replicas that existing ones must have.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// The number of partitions of each topic that may have several.
    pub partitions: i32,
    /// The replication factor; -1 means three, or the number of brokers if there are fewer.
    pub replication: i32,
}

/// What to do with a topic whose retention is longer than the contract specifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionPolicy {
    /// Keep the longer retention and report it.
    Keep,
    /// Lower the retention; Kafka then removes older records.
    Lower,
}

/// How existing topics may be changed.
#[derive(Debug, Clone, Copy)]
pub struct Existing {
    /// What to do with a retention that is too long.
    pub retention: RetentionPolicy,
    /// The number of partitions that each such topic must have. Missing partitions are added. `None` leaves the
    /// number unchanged.
    pub partitions: Option<i32>,
}

/// A result of comparing a topic with the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The topic matches the contract.
    Right,
    /// The topic does not exist.
    Missing,
    /// The topic was created by this call.
    Created,
    /// A setting differed and was corrected by this call.
    Corrected {
        /// The name of the setting.
        setting: String,
        /// The previous value.
        was: String,
        /// The new value.
        is: String,
    },
    /// A setting differs from the contract.
    Differs {
        /// The name of the setting.
        setting: String,
        /// The current value.
        is: String,
        /// The required value.
        must_be: String,
    },
    /// The retention is longer than the contract specifies. Lowering it removes records, so an operator must request it.
    LongerRetention {
        /// The name of the setting.
        setting: String,
        /// The current value.
        is: String,
        /// The required value.
        must_be: String,
    },
    /// The topic has more partitions than requested. Kafka cannot remove partitions.
    Partitions {
        /// The current number.
        current: i32,
        /// The requested number.
        requested: i32,
    },
    /// A partition has fewer replicas than required. No topic setting can change that.
    Replicas {
        /// The smallest number of replicas of any partition.
        current: i32,
        /// The required number.
        must_be: i32,
    },
}

/// Creates missing topics and corrects the settings of existing ones. Does not add partitions, does not remove topics,
/// partitions or records, and keeps settings that the contract does not specify.
///
/// # Errors
/// [`TopicsError`].
pub async fn apply(client: &ClientConfig, topics: &Topics, size: Size) -> Result<Vec<(String, Finding)>, TopicsError> {
    apply_with(client, topics, size, Existing { retention: RetentionPolicy::Keep, partitions: None }).await
}

/// Applies the topics as [`apply`] does, with a choice of how existing topics may be changed.
///
/// # Errors
/// [`TopicsError`].
pub async fn apply_with(
    client: &ClientConfig,
    topics: &Topics,
    size: Size,
    existing: Existing,
) -> Result<Vec<(String, Finding)>, TopicsError> {
    admin::with_cluster(client, async |cluster| {
        let mut findings = Vec::new();
        for spec in topics.specs() {
            let found = apply_one(&cluster, &spec, size, existing).await?;
            push(&mut findings, &spec.name, found);
        }
        Ok(findings)
    })
    .await
}

async fn apply_one(
    cluster: &ClusterAdmin,
    spec: &TopicSpec,
    size: Size,
    existing: Existing,
) -> Result<Vec<Finding>, TopicsError> {
    let partitions = if spec.single_partition { 1 } else { size.partitions };
    let replicas = requirements::replicas(size.replication, cluster.brokers.len());
    let settings = requirements::settings(spec, replicas);
    let new = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(replicas));
    let new = settings.iter().fold(new, |topic, (setting, value)| topic.set(setting, value));
    if cluster.create(&new).await? {
        // Waits until the broker that answers this client knows the topic, so that the next user of the topic finds it.
        let _found = cluster.topic_soon(&spec.name).await?;
        return Ok(vec![Finding::Created]);
    }
    let Some(found) = cluster.topic_soon(&spec.name).await? else {
        return Err(TopicsError::Refused { topic: spec.name.clone(), code: RDKafkaErrorCode::UnknownTopicOrPartition });
    };
    let current = cluster.replicas.get(&spec.name).copied().unwrap_or(replicas);
    let is_kept =
        |difference: &Difference| existing.retention == RetentionPolicy::Keep && difference.lowers_retention();
    let (kept, wrong): (Vec<_>, Vec<_>) =
        requirements::differences(&found, spec, current).into_iter().partition(is_kept);
    if !wrong.is_empty() {
        cluster.set(&spec.name, &requirements::corrected(&found, &wrong)).await?;
    }
    let wrong = wrong.into_iter().map(|Difference { setting, is, must_be }| Finding::Corrected {
        setting: setting.to_owned(),
        was: is,
        is: must_be,
    });
    let partitions = if spec.single_partition { None } else { grow(cluster, &spec.name, existing.partitions).await? };
    let kept = kept.into_iter().map(Difference::reported);
    Ok(wrong.chain(kept).chain(too_few(current, replicas)).chain(partitions).collect())
}

/// Adds partitions if the topic has fewer than requested. That is safe: the partition of a key only affects how the work is
/// distributed, because mapping and storing give the same result in any order.
async fn grow(cluster: &ClusterAdmin, topic: &str, requested: Option<i32>) -> Result<Option<Finding>, TopicsError> {
    let (Some(requested), Some(current)) = (requested, cluster.partitions.get(topic).copied()) else { return Ok(None) };
    match requested.cmp(&current) {
        Ordering::Equal => Ok(None),
        Ordering::Less => Ok(Some(Finding::Partitions { current, requested })),
        Ordering::Greater => {
            let is_grown = cluster.grow(topic, requested).await?;
            Ok(is_grown.then(|| Finding::Corrected {
                setting: "the number of partitions".to_owned(),
                was: current.to_string(),
                is: requested.to_string(),
            }))
        }
    }
}

/// Compares every topic with the contract.
///
/// # Errors
/// [`TopicsError`].
pub async fn check(
    client: &ClientConfig,
    topics: &Topics,
    replication: i32,
) -> Result<Vec<(String, Finding)>, TopicsError> {
    admin::with_cluster(client, async |cluster| {
        let replicas = requirements::replicas(replication, cluster.brokers.len());
        let mut findings = Vec::new();
        for spec in topics.specs() {
            let Some(found) = cluster.topic(&spec.name).await? else {
                findings.push((spec.name, Finding::Missing));
                continue;
            };
            let current = cluster.replicas.get(&spec.name).copied().unwrap_or(replicas);
            let differing = requirements::differences(&found, &spec, current).into_iter().map(Difference::reported);
            push(&mut findings, &spec.name, differing.chain(too_few(current, replicas)).collect());
        }
        Ok(findings)
    })
    .await
}

impl Difference {
    fn reported(self) -> Finding {
        let keeps = self.lowers_retention();
        let Self { setting, is, must_be } = self;
        let setting = setting.to_owned();
        if keeps {
            Finding::LongerRetention { setting, is, must_be }
        } else {
            Finding::Differs { setting, is, must_be }
        }
    }
}

fn too_few(current: i32, must_be: i32) -> Option<Finding> {
    (current < must_be).then_some(Finding::Replicas { current, must_be })
}

/// Adds the findings for a topic, or [`Finding::Right`] if there are none.
fn push(findings: &mut Vec<(String, Finding)>, topic: &str, found: Vec<Finding>) {
    let found = if found.is_empty() { vec![Finding::Right] } else { found };
    findings.extend(found.into_iter().map(|finding| (topic.to_owned(), finding)));
}
