//! Making the topics as the contract wants them, and seeing whether they still are.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use schemas::topic::{TopicSpec, Topics};

const TIMEOUT: Duration = Duration::from_secs(30);

/// How large new topics are made.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Partitions of each topic but `schemas`.
    pub partitions: i32,
    /// Copies of each partition; -1 takes the broker's default.
    pub replication: i32,
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
    /// A setting differs.
    Differs {
        /// The setting.
        setting: String,
        /// What it is.
        is: String,
        /// What it must be.
        must_be: String,
    },
}

/// Why topics could not be applied or checked.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The cluster does not answer, or refuses the request as a whole.
    #[error("the Kafka cluster does not answer")]
    Kafka(#[from] KafkaError),
    /// The cluster refuses one topic.
    #[error("the Kafka cluster refuses the topic {topic}: {code}")]
    Refused {
        /// The topic.
        topic: String,
        /// Kafka's reason.
        code: RDKafkaErrorCode,
    },
}

/// Makes missing topics and corrects settings of existing ones. Never removes a topic or a partition.
///
/// # Errors
/// [`TopicsError`].
pub async fn apply(client: &ClientConfig, topics: &Topics, size: Size) -> Result<Vec<(String, Finding)>, TopicsError> {
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let mut findings = Vec::new();
    for spec in topics.specs() {
        let finding = if create(&admin, &spec, size).await? { Finding::Created } else { Finding::Right };
        findings.push((spec.name, finding));
    }
    let wrong = differences(&admin, topics).await?;
    for spec in topics.specs() {
        if wrong.iter().any(|(name, finding)| *name == spec.name && matches!(finding, Finding::Differs { .. })) {
            correct(&admin, &spec).await?;
        }
    }
    Ok(findings)
}

/// Compares every topic with what it must be.
///
/// # Errors
/// [`TopicsError`].
pub async fn check(client: &ClientConfig, topics: &Topics) -> Result<Vec<(String, Finding)>, TopicsError> {
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    differences(&admin, topics).await
}

async fn create(admin: &AdminClient<DefaultClientContext>, spec: &TopicSpec, size: Size) -> Result<bool, TopicsError> {
    let partitions = if spec.single_partition { 1 } else { size.partitions };
    let mut topic = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(size.replication));
    for (name, value) in spec.settings {
        topic = topic.set(name, value);
    }
    let results = admin.create_topics([&topic], &options()).await?;
    match results.into_iter().next() {
        None | Some(Ok(_)) => Ok(true),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((topic, code))) => Err(TopicsError::Refused { topic, code }),
    }
}

async fn correct(admin: &AdminClient<DefaultClientContext>, spec: &TopicSpec) -> Result<(), TopicsError> {
    let mut config = AlterConfig::new(ResourceSpecifier::Topic(&spec.name));
    for (name, value) in spec.settings {
        config = config.set(name, value);
    }
    for result in admin.alter_configs([&config], &options()).await? {
        result.map_err(|(_, code)| TopicsError::Refused { topic: spec.name.clone(), code })?;
    }
    Ok(())
}

async fn differences(
    admin: &AdminClient<DefaultClientContext>,
    topics: &Topics,
) -> Result<Vec<(String, Finding)>, TopicsError> {
    let mut findings = Vec::new();
    for spec in topics.specs() {
        let described = admin.describe_configs([&ResourceSpecifier::Topic(&spec.name)], &options()).await?;
        match described.into_iter().next() {
            None | Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
                findings.push((spec.name, Finding::Missing));
            }
            Some(Err(code)) => return Err(TopicsError::Refused { topic: spec.name, code }),
            Some(Ok(resource)) => {
                let wrong: Vec<Finding> = spec
                    .settings
                    .iter()
                    .filter_map(|(setting, must_be)| {
                        let is = resource.get(setting).and_then(|entry| entry.value.clone()).unwrap_or_default();
                        let finding = Finding::Differs {
                            setting: (*setting).to_owned(),
                            is: is.clone(),
                            must_be: (*must_be).to_owned(),
                        };
                        (is != *must_be).then_some(finding)
                    })
                    .collect();
                if wrong.is_empty() {
                    findings.push((spec.name, Finding::Right));
                } else {
                    findings.extend(wrong.into_iter().map(|finding| (spec.name.clone(), finding)));
                }
            }
        }
    }
    Ok(findings)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}
