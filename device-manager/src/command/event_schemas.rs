//! `device-manager schemas verify`.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    metadata::{MetadataPartition, MetadataTopic},
};
use schemas::codec::{Fingerprint, fingerprint_of, own_schemas};
use serde::Serialize;
use service::{cluster::Cluster, schema_topic};

use super::{KafkaArgs, reach};
use crate::{error::CommandError, output::Output};

const GROUP: &str = "device-manager-schemas";
const ANSWER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Compare the event schemas of this release with those that are published and those that events are written with.
///
/// Every event begins with the fingerprint of its schema. A consumer that does not know it looks it up on the topic `schemas`, and
/// waits if it is not there.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager schemas verify
  device-manager schemas verify --records 100000 --json | jq 'select(.state == \"unknown\")'")]
pub struct SchemasCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List each schema, where it is known, and how many of the last events of each partition are written with it. Exit code 1 if a
    /// schema of this release is not published, or if events are written with a schema that is neither published nor of this
    /// release.
    Verify {
        #[command(flatten)]
        kafka: KafkaArgs,
        /// The number of last events that are read of each partition.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
        records: u32,
        /// Print one JSON object for each schema.
        #[arg(long)]
        json: bool,
    },
}

/// Where a schema is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It is of this release, and published.
    Current,
    /// It is of this release, and not published. A normalizer publishes it when it starts.
    Unpublished,
    /// It is of another release, and published.
    OtherRelease,
    /// It is neither of this release nor published: consumers wait at its events.
    Unknown,
}

/// A schema, and the events that are written with it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Found {
    fingerprint: String,
    /// The name of the record, if the schema is of this release.
    name: Option<&'static str>,
    state: State,
    /// The number of events, by topic.
    events: BTreeMap<String, u64>,
}

/// Runs the command.
///
/// # Errors
/// Kafka does not answer, or the topics do not exist.
pub async fn run(args: SchemasCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let Action::Verify { kafka, records, json } = args.action;
    let cluster = kafka.cluster()?;
    reach(&cluster.settings).await?;
    let found = tokio::task::spawn_blocking(move || find(&cluster, records)).await;
    let found = found.map_err(|error| CommandError::failed("reading the topics", error))??;
    for schema in &found {
        if json { output.json(schema)? } else { output.line(&line(schema))? }
    }
    let is_right = found.iter().all(|schema| match schema.state {
        State::Current | State::OtherRelease => true,
        State::Unpublished | State::Unknown => false,
    });
    Ok(ExitCode::from(u8::from(!is_right)))
}

fn find(cluster: &Cluster, records: u32) -> Result<Vec<Found>, CommandError> {
    let failed = |error: KafkaError| CommandError::failed("reading the topics", error);
    let own = own_schemas().map_err(|error| CommandError::failed("reading the compiled-in schemas", error))?;
    let published = schema_topic::read(cluster, GROUP, ANSWER).map_err(failed)?;
    let topics = &cluster.topics;
    let mut events: BTreeMap<Fingerprint, BTreeMap<String, u64>> = BTreeMap::new();
    for schema in &own {
        events.entry(schema.fingerprint).or_default();
    }
    for topic in
        [topics.readings(), topics.readings_bulk(), topics.assignments(), topics.documents(), topics.outcomes()]
    {
        count(cluster, &topic, records, &mut events).map_err(failed)?;
    }
    let is_published = |fingerprint| published.iter().any(|(key, _)| *key == fingerprint);
    let state = |fingerprint, is_own| match (is_own, is_published(fingerprint)) {
        (true, true) => State::Current,
        (true, false) => State::Unpublished,
        (false, true) => State::OtherRelease,
        (false, false) => State::Unknown,
    };
    let found = |(fingerprint, events): (Fingerprint, BTreeMap<String, u64>)| {
        let name = own.iter().find(|schema| schema.fingerprint == fingerprint).map(|schema| schema.name);
        Found { fingerprint: fingerprint.to_string(), name, state: state(fingerprint, name.is_some()), events }
    };
    Ok(events.into_iter().map(found).collect())
}

/// Counts the last events of each partition of a topic by the fingerprint of their schema. Blocks.
fn count(
    cluster: &Cluster,
    topic: &str,
    records: u32,
    events: &mut BTreeMap<Fingerprint, BTreeMap<String, u64>>,
) -> Result<(), KafkaError> {
    let consumer: BaseConsumer =
        cluster.settings.client().set("group.id", GROUP).set("enable.auto.commit", "false").create()?;
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let (mut from, mut unread) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id) {
        let (start, end) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
        let first = start.max(end - i64::from(records));
        if first < end {
            from.add_partition_offset(topic, partition, Offset::Offset(first))?;
            unread.insert(partition, end);
        }
    }
    if unread.is_empty() {
        return Ok(());
    }
    consumer.assign(&from)?;
    let mut last_record = Instant::now();
    while !unread.is_empty() {
        let Some(message) = consumer.poll(POLL).transpose()? else {
            // Compaction may have removed the last messages of a partition.
            if last_record.elapsed() > ANSWER {
                return Ok(());
            }
            continue;
        };
        last_record = Instant::now();
        if unread.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            unread.remove(&message.partition());
        }
        if let Some(Ok((fingerprint, _datum))) = message.payload().map(fingerprint_of) {
            *events.entry(fingerprint).or_default().entry(topic.to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

fn line(schema: &Found) -> String {
    let Found { fingerprint, name, state, events } = schema;
    let name = name.unwrap_or("a schema of another release");
    let state = match state {
        State::Current => "of this release, published",
        State::Unpublished => {
            "of this release, NOT published; a normalizer of this release publishes it when it starts"
        }
        State::OtherRelease => "published",
        State::Unknown => "NOT published, and not of this release; consumers wait at its events",
    };
    let counts: Vec<String> = events.iter().map(|(topic, count)| format!("{topic} {count}")).collect();
    let counts = if counts.is_empty() { "none of the events read".to_owned() } else { counts.join(", ") };
    format!("{fingerprint} {name}: {state}; {counts}")
}
