//! The topics of one run, so that no run reads what another one wrote.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use schemas::topic::Topics;
use service::{kafka::KafkaSettings, topics::Size};

use crate::Result;

/// The default of `device-manager topics apply`.
pub(crate) const PARTITIONS: i32 = 6;
/// The consumer groups of `device-manager up`: those of the normalizer and of its large uploads, each with the group that
/// commits the copies of the marks, and those of the sink's two lanes.
const GROUPS: [&str; 6] = [
    "device-manager-normalizer",
    "device-manager-normalizer-marks",
    "device-manager-normalizer-uploads",
    "device-manager-normalizer-uploads-marks",
    "device-manager-sink",
    "device-manager-sink-bulk",
];
const ANSWER: Duration = Duration::from_secs(10);

/// The topics of one run.
pub(crate) struct RunTopics {
    pub(crate) prefix: String,
    pub(crate) topics: Topics,
    settings: KafkaSettings,
}

/// A record that is produced before a run.
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// The number of records on a topic, and of distinct names in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) records: u64,
    pub(crate) distinct: u64,
}

impl RunTopics {
    /// Creates all topics of the product with `prefix`.
    pub(crate) async fn make(settings: &KafkaSettings, prefix: &str) -> Result<Self> {
        let topics = Topics::new(prefix);
        let size = Size { partitions: PARTITIONS, replication: 1 };
        service::topics::apply(&settings.client(), &topics, size).await?;
        Ok(Self { prefix: prefix.to_owned(), topics, settings: settings.clone() })
    }

    /// Deletes the topics.
    pub(crate) async fn delete(self) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.settings.client().create()?;
        let specs = self.topics.specs();
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        for deleted in admin.delete_topics(&names, &AdminOptions::new()).await? {
            deleted.map_err(|(topic, code)| format!("the topic {topic} cannot be deleted: {code}"))?;
        }
        Ok(())
    }

    /// Deletes the groups of `up` with their offsets, because the next run creates topics with the same names.
    pub(crate) async fn delete_groups(&self) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.settings.client().create()?;
        for deleted in admin.delete_groups(&GROUPS, &AdminOptions::new()).await? {
            match deleted {
                Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
                Err((group, code)) => return Err(format!("the group {group} cannot be deleted: {code}").into()),
            }
        }
        Ok(())
    }

    /// Returns a counter of the records of a topic, which uses the partitions' first and end offsets and reads no record.
    pub(crate) fn counter(&self, topic: String) -> Result<Counter> {
        Ok(Counter { client: self.settings.client().create()?, topic })
    }

    /// Produces records and waits until the broker has all of them. Returns their number.
    pub(crate) async fn preload(
        &self,
        topic: String,
        records: impl Iterator<Item = Record> + Send + 'static,
    ) -> Result<u64> {
        let config = self.settings.producer();
        tokio::task::spawn_blocking(move || preload(&config, &topic, records)).await?
    }

    /// Reads a whole topic and counts the records and the distinct names that `name` finds in them.
    pub(crate) async fn content(&self, topic: String, name: fn(&[u8]) -> Option<&[u8]>) -> Result<Content> {
        let mut config = self.settings.client();
        config.set("group.id", "bench-gate").set("enable.auto.commit", "false").set("fetch.queue.backoff.ms", "5");
        tokio::task::spawn_blocking(move || content(&config, &topic, name)).await?
    }
}

/// Counts the records of a topic; see [`RunTopics::counter`].
pub(crate) struct Counter {
    client: BaseConsumer,
    topic: String,
}

impl Counter {
    /// Returns the current number of records on the topic. Takes a few requests to the broker, about a millisecond.
    pub(crate) fn count(&self) -> Result<u64> {
        let mut records = 0;
        for partition in 0..PARTITIONS {
            let (low, high) = self.client.fetch_watermarks(&self.topic, partition, ANSWER)?;
            records += u64::try_from(high - low)?;
        }
        Ok(records)
    }
}

fn preload(config: &ClientConfig, topic: &str, records: impl Iterator<Item = Record>) -> Result<u64> {
    let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
    let mut count = 0;
    for record in records {
        let headers =
            record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |all, (key, value)| {
                all.insert(Header { key, value: Some(value) })
            });
        let mut next = BaseRecord::to(topic).key(&record.key).payload(&record.value).headers(headers);
        while let Err((error, refused)) = producer.send(next) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            next = refused;
            std::thread::sleep(Duration::from_millis(2));
        }
        count += 1;
    }
    producer.flush(Duration::from_mins(1))?;
    Ok(count)
}

fn content(config: &ClientConfig, topic: &str, name: fn(&[u8]) -> Option<&[u8]>) -> Result<Content> {
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    let mut expected = 0;
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
        expected += u64::try_from(high - low)?;
    }
    consumer.assign(&assignment)?;
    let (mut records, mut names) = (0, HashSet::new());
    let mut quiet = 0;
    while records < expected && quiet < 100 {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            quiet += 1;
            continue;
        };
        quiet = 0;
        let message = message?;
        let found = message.payload().and_then(name).ok_or("a record has no name to count it by")?;
        let mut hasher = DefaultHasher::new();
        found.hash(&mut hasher);
        names.insert(hasher.finish());
        records += 1;
    }
    Ok(Content { records, distinct: names.len() as u64 })
}
