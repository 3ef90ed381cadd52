//! Admin requests to the cluster, one function for each request.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ConfigResource, NewPartitions, NewTopic, ResourceSpecifier},
    client::DefaultClientContext,
    error::KafkaError,
    metadata::{MetadataBroker, MetadataTopic},
    types::RDKafkaErrorCode,
};

use super::error::TopicsError;

/// How long the cluster may take to answer one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The wait before a topic that was just created is looked up again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// How many clients are tried.
const ATTEMPTS: u32 = 3;
/// How long the cause is investigated if no client was answered.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(3);

/// An admin client together with the metadata of its cluster.
pub(super) struct ClusterAdmin {
    admin: AdminClient<DefaultClientContext>,
    /// The ids of the brokers.
    pub(super) brokers: Vec<i32>,
    /// The number of partitions of each topic.
    pub(super) partitions: BTreeMap<String, i32>,
    /// For each topic, the smallest number of replicas of any of its partitions.
    pub(super) replicas: BTreeMap<String, i32>,
}

/// Runs `operation` with a new admin client, and retries with another one if the cluster does not answer. A client of a cluster
/// that is just starting may lose its brokers ([`crate::rebootstrap`]); as this client is short-lived, it is replaced.
pub(super) async fn with_cluster<T>(
    client: &ClientConfig,
    operation: impl AsyncFn(ClusterAdmin) -> Result<T, TopicsError>,
) -> Result<T, TopicsError> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let result = match ClusterAdmin::connect(client).await {
            Ok(cluster) => operation(cluster).await,
            Err(error) => Err(error),
        };
        match result {
            Err(TopicsError::Kafka(error)) if is_unavailable(&error) && left > 0 => {
                tracing::info!("the Kafka cluster does not answer: trying again");
            }
            Err(TopicsError::Kafka(error)) if is_unavailable(&error) => {
                let client = client.clone();
                let found =
                    tokio::task::spawn_blocking(move || crate::kafka::diagnose(&client, DIAGNOSIS_TIMEOUT)).await;
                let cause = found.ok().flatten().unwrap_or_else(|| error.to_string());
                return Err(TopicsError::Away { cause });
            }
            result => return result,
        }
    }
}

fn is_unavailable(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    error.rdkafka_error_code().is_some_and(|code| {
        matches!(code, Code::OperationTimedOut | Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve)
    })
}

impl ClusterAdmin {
    async fn connect(client: &ClientConfig) -> Result<Self, TopicsError> {
        let admin: Arc<AdminClient<DefaultClientContext>> = Arc::new(client.create()?);
        let metadata_client = Arc::clone(&admin);
        let fetched = tokio::task::spawn_blocking(move || metadata_client.inner().fetch_metadata(None, TIMEOUT)).await;
        let metadata = fetched.map_err(|_| TopicsError::Kafka(KafkaError::Canceled))??;
        let fewest = |topic: &MetadataTopic| {
            topic
                .partitions()
                .iter()
                .map(|partition| i32::try_from(partition.replicas().len()).unwrap_or(i32::MAX))
                .min()
        };
        let count = |topic: &MetadataTopic| i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        let partitions = metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic))).collect();
        let replicas = metadata.topics().iter().filter_map(|topic| Some((topic.name().to_owned(), fewest(topic)?)));
        let (brokers, replicas) = (metadata.brokers().iter().map(MetadataBroker::id).collect(), replicas.collect());
        // The other owner, the blocking task, has ended.
        let admin = Arc::into_inner(admin).ok_or(KafkaError::Canceled)?;
        Ok(Self { admin, brokers, partitions, replicas })
    }

    /// Creates a topic. Returns `false` if it already exists.
    pub(super) async fn create(&self, topic: &NewTopic<'_>) -> Result<bool, TopicsError> {
        match self.admin.create_topics([topic], &options()).await?.into_iter().next() {
            None | Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((topic, code))) => Err(TopicsError::Refused { topic, code }),
        }
    }

    /// Adds partitions up to the total `partitions`, after a broker has reported fewer. Returns `false` if the topic already
    /// has that many: brokers learn of added partitions one after the other, so the reported number may be outdated, and the
    /// controller knows the current one.
    pub(super) async fn grow(&self, name: &str, partitions: i32) -> Result<bool, TopicsError> {
        let count = usize::try_from(partitions).unwrap_or_default();
        let grown = self.admin.create_partitions([&NewPartitions::new(name, count)], &options()).await?;
        match grown.into_iter().next() {
            None | Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::InvalidPartitions))) => Ok(false),
            Some(Err((topic, code))) => Err(TopicsError::Refused { topic, code }),
        }
    }

    /// Returns the settings of a topic; waits for a topic that was just created.
    pub(super) async fn topic_soon(&self, name: &str) -> Result<Option<ConfigResource>, TopicsError> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = self.topic(name).await?;
            if found.is_some() || Instant::now() > deadline {
                return Ok(found);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Returns the settings of a topic; `None` if it does not exist.
    pub(super) async fn topic(&self, name: &str) -> Result<Option<ConfigResource>, TopicsError> {
        let described = self.admin.describe_configs([&ResourceSpecifier::Topic(name)], &options()).await?;
        match described.into_iter().next() {
            None | Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => Ok(None),
            Some(Err(code)) => Err(TopicsError::Refused { topic: name.to_owned(), code }),
            // For a topic that does not exist, librdkafka returns an empty result instead of an error.
            Some(Ok(found)) => Ok((!found.entries.is_empty()).then_some(found)),
        }
    }

    /// Replaces all settings of a topic with these.
    pub(super) async fn set(&self, name: &str, settings: &[(String, String)]) -> Result<(), TopicsError> {
        let mut config = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (setting, value) in settings {
            config = config.set(setting, value);
        }
        for result in self.admin.alter_configs([&config], &options()).await? {
            result.map_err(|(_, code)| TopicsError::Refused { topic: name.to_owned(), code })?;
        }
        Ok(())
    }

    /// Returns the settings of a broker; `None` if this user may not read them.
    pub(super) async fn broker(&self, id: i32) -> Result<Option<ConfigResource>, TopicsError> {
        let described = self.admin.describe_configs([&ResourceSpecifier::Broker(id)], &options()).await?;
        Ok(described.into_iter().next().and_then(Result::ok))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}
