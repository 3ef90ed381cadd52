//! Making the topics as the contract wants them, and seeing whether they still are.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use schemas::topic::{TopicSpec, Topics};

/// How long the cluster may take to answer one client.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many clients ask.
const ATTEMPTS: u32 = 3;

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

/// Makes missing topics and corrects settings of existing ones. Never removes a topic or a partition, and leaves settings that
/// are the operator's alone.
///
/// # Errors
/// [`TopicsError`].
pub async fn apply(client: &ClientConfig, topics: &Topics, size: Size) -> Result<Vec<(String, Finding)>, TopicsError> {
    patiently(|| apply_once(client, topics, size)).await
}

/// A client of a cluster that is just starting may forget its brokers ([`crate::recall`]). This one lives shortly: another is
/// made.
async fn patiently<T, F: Future<Output = Result<T, TopicsError>>>(ask: impl Fn() -> F) -> Result<T, TopicsError> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match ask().await {
            Err(TopicsError::Kafka(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))) if left > 0 => {
                tracing::info!("the Kafka cluster does not answer: asking again");
            }
            answer => return answer,
        }
    }
}

async fn apply_once(client: &ClientConfig, topics: &Topics, size: Size) -> Result<Vec<(String, Finding)>, TopicsError> {
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let mut findings = Vec::new();
    for spec in topics.specs() {
        if create(&admin, &spec, size).await? {
            findings.push((spec.name, Finding::Created));
            continue;
        }
        let Some(found) = describe(&admin, &spec).await? else {
            return Err(TopicsError::Refused { topic: spec.name, code: RDKafkaErrorCode::UnknownTopicOrPartition });
        };
        let wrong = differences(&found, &spec);
        if !wrong.is_empty() {
            correct(&admin, &spec, &found).await?;
        }
        let corrected = wrong.into_iter().map(|Difference { setting, is, must_be }| Finding::Corrected {
            setting: setting.to_owned(),
            was: is,
            is: must_be.to_owned(),
        });
        push(&mut findings, &spec.name, corrected);
    }
    Ok(findings)
}

/// Compares every topic with what it must be.
///
/// # Errors
/// [`TopicsError`].
pub async fn check(client: &ClientConfig, topics: &Topics) -> Result<Vec<(String, Finding)>, TopicsError> {
    patiently(|| check_once(client, topics)).await
}

async fn check_once(client: &ClientConfig, topics: &Topics) -> Result<Vec<(String, Finding)>, TopicsError> {
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let mut findings = Vec::new();
    for spec in topics.specs() {
        let Some(found) = describe(&admin, &spec).await? else {
            findings.push((spec.name, Finding::Missing));
            continue;
        };
        let differing = differences(&found, &spec).into_iter().map(|Difference { setting, is, must_be }| {
            Finding::Differs { setting: setting.to_owned(), is, must_be: must_be.to_owned() }
        });
        push(&mut findings, &spec.name, differing);
    }
    Ok(findings)
}

/// Adds what was found of a topic; where that is nothing, that it is right.
fn push(findings: &mut Vec<(String, Finding)>, topic: &str, found: impl Iterator<Item = Finding>) {
    let before = findings.len();
    findings.extend(found.map(|finding| (topic.to_owned(), finding)));
    if findings.len() == before {
        findings.push((topic.to_owned(), Finding::Right));
    }
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

/// Sets what the contract wants. The request replaces all settings of the topic, so the operator's own are set again with it.
async fn correct(
    admin: &AdminClient<DefaultClientContext>,
    spec: &TopicSpec,
    found: &ConfigResource,
) -> Result<(), TopicsError> {
    let mut config = AlterConfig::new(ResourceSpecifier::Topic(&spec.name));
    for entry in found.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic) {
        let is_ours = spec.settings.iter().any(|(name, _)| *name == entry.name);
        if let (false, Some(value)) = (is_ours, &entry.value) {
            config = config.set(&entry.name, value);
        }
    }
    for (name, value) in spec.settings {
        config = config.set(name, value);
    }
    for result in admin.alter_configs([&config], &options()).await? {
        result.map_err(|(_, code)| TopicsError::Refused { topic: spec.name.clone(), code })?;
    }
    Ok(())
}

/// The settings of a topic; none when there is no such topic.
async fn describe(
    admin: &AdminClient<DefaultClientContext>,
    spec: &TopicSpec,
) -> Result<Option<ConfigResource>, TopicsError> {
    let described = admin.describe_configs([&ResourceSpecifier::Topic(&spec.name)], &options()).await?;
    match described.into_iter().next() {
        None | Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => Ok(None),
        Some(Err(code)) => Err(TopicsError::Refused { topic: spec.name.clone(), code }),
        // Of a topic that is not there, librdkafka gives no error but nothing.
        Some(Ok(found)) => Ok((!found.entries.is_empty()).then_some(found)),
    }
}

/// A setting that is not what it must be.
struct Difference {
    setting: &'static str,
    is: String,
    must_be: &'static str,
}

fn differences(found: &ConfigResource, spec: &TopicSpec) -> Vec<Difference> {
    let compared = spec.settings.iter().map(|(setting, must_be)| {
        let is = found.get(setting).and_then(|entry| entry.value.clone()).unwrap_or_default();
        Difference { setting, is, must_be }
    });
    compared.filter(|found| found.is != found.must_be).collect()
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}
