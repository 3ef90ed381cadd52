//! Making the topics as the contract wants them, seeing whether they still are, and what the cluster they lie on promises.

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

/// What a stage says of a topic that does not exist.
#[must_use]
pub fn not_there(name: &str) -> String {
    format!("the topic {name} does not exist: run `device-manager topics apply`")
}

/// How large new topics are made, and how many copies existing ones must have.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Partitions of each topic but `schemas`.
    pub partitions: i32,
    /// Copies of each partition; -1 takes three, or one on each broker where there are fewer.
    pub replication: i32,
}

/// What may happen to records that a topic keeps now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lowering {
    /// A retention that is longer than the contract's stays, and is reported.
    Report,
    /// It is lowered: older records are removed.
    Apply,
}

/// What may become of topics that exist.
#[derive(Debug, Clone, Copy)]
pub struct Existing {
    /// What may happen to their records.
    pub lowering: Lowering,
    /// How many partitions each but `schemas` must have; none where that is left alone. Missing ones are added.
    pub partitions: Option<i32>,
}

/// What a topic is, compared with what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is as it must be.
    Right,
    /// It does not exist.
    Missing,
    /// It was made now.
    Created,
    /// A setting differed and was corrected now.
    Corrected {
        /// The setting.
        setting: String,
        /// What it was.
        was: String,
        /// What it is.
        is: String,
    },
    /// A setting differs.
    Differs {
        /// The setting.
        setting: String,
        /// What it is.
        is: String,
        /// What it must be.
        must_be: String,
    },
    /// More is kept than the contract asks for: correcting it removes records, so an operator must say so.
    Keeps {
        /// The setting.
        setting: String,
        /// What it is.
        is: String,
        /// What it must be.
        must_be: String,
    },
    /// There are more partitions than asked for. Kafka removes none.
    Partitions {
        /// How many there are.
        are: i32,
        /// How many were asked for.
        asked: i32,
    },
    /// There are fewer copies than there must be. No setting changes that.
    Copies {
        /// How many there are of some partition.
        are: i32,
        /// How many there must be.
        must_be: i32,
    },
}

/// Makes missing topics and corrects settings of existing ones. Adds no partition, removes no topic, partition or record, and
/// leaves settings alone that are the operator's.
///
/// # Errors
/// [`TopicsError`].
pub async fn apply(client: &ClientConfig, topics: &Topics, size: Size) -> Result<Vec<(String, Finding)>, TopicsError> {
    apply_with(client, topics, size, Existing { lowering: Lowering::Report, partitions: None }).await
}

/// The same, for a caller who knows what may become of existing topics.
///
/// # Errors
/// [`TopicsError`].
pub async fn apply_with(
    client: &ClientConfig,
    topics: &Topics,
    size: Size,
    existing: Existing,
) -> Result<Vec<(String, Finding)>, TopicsError> {
    admin::ask(client, async |cluster| {
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
    let copies = requirements::copies(size.replication, cluster.brokers.len());
    let settings = requirements::settings(spec, copies);
    let new = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(copies));
    let new = settings.iter().fold(new, |topic, (setting, value)| topic.set(setting, value));
    if cluster.create(&new).await? {
        // Whoever comes next must find it: brokers learn of it a little later than the one that made it.
        let _found = cluster.topic_soon(&spec.name).await?;
        return Ok(vec![Finding::Created]);
    }
    let Some(found) = cluster.topic_soon(&spec.name).await? else {
        return Err(TopicsError::Refused { topic: spec.name.clone(), code: RDKafkaErrorCode::UnknownTopicOrPartition });
    };
    let are = cluster.copies.get(&spec.name).copied().unwrap_or(copies);
    let is_kept = |difference: &Difference| existing.lowering == Lowering::Report && difference.lowers_retention();
    let (kept, wrong): (Vec<_>, Vec<_>) = requirements::differences(&found, spec, are).into_iter().partition(is_kept);
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
    Ok(wrong.chain(kept).chain(too_few(are, copies)).chain(partitions).collect())
}

/// Adds partitions where there are fewer than asked for. Nothing depends on a key's partition but how the work is shared: what is
/// mapped and what is stored come to the same in any order.
async fn grow(cluster: &ClusterAdmin, topic: &str, asked: Option<i32>) -> Result<Option<Finding>, TopicsError> {
    let (Some(asked), Some(are)) = (asked, cluster.partitions.get(topic).copied()) else { return Ok(None) };
    match asked.cmp(&are) {
        Ordering::Equal => Ok(None),
        Ordering::Less => Ok(Some(Finding::Partitions { are, asked })),
        Ordering::Greater => {
            let is_grown = cluster.grow(topic, asked).await?;
            Ok(is_grown.then(|| Finding::Corrected {
                setting: "the number of partitions".to_owned(),
                was: are.to_string(),
                is: asked.to_string(),
            }))
        }
    }
}

/// Compares every topic with what it must be.
///
/// # Errors
/// [`TopicsError`].
pub async fn check(
    client: &ClientConfig,
    topics: &Topics,
    replication: i32,
) -> Result<Vec<(String, Finding)>, TopicsError> {
    admin::ask(client, async |cluster| {
        let copies = requirements::copies(replication, cluster.brokers.len());
        let mut findings = Vec::new();
        for spec in topics.specs() {
            let Some(found) = cluster.topic(&spec.name).await? else {
                findings.push((spec.name, Finding::Missing));
                continue;
            };
            let are = cluster.copies.get(&spec.name).copied().unwrap_or(copies);
            let differing = requirements::differences(&found, &spec, are).into_iter().map(Difference::reported);
            push(&mut findings, &spec.name, differing.chain(too_few(are, copies)).collect());
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
        if keeps { Finding::Keeps { setting, is, must_be } } else { Finding::Differs { setting, is, must_be } }
    }
}

fn too_few(are: i32, must_be: i32) -> Option<Finding> {
    (are < must_be).then_some(Finding::Copies { are, must_be })
}

/// Adds what was found of a topic; where that is nothing, that it is right.
fn push(findings: &mut Vec<(String, Finding)>, topic: &str, found: Vec<Finding>) {
    let found = if found.is_empty() { vec![Finding::Right] } else { found };
    findings.extend(found.into_iter().map(|finding| (topic.to_owned(), finding)));
}
