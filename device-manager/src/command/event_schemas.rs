//! `device-manager schemas verify`.

use std::{
    collections::{BTreeMap, BTreeSet},
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
use schemas::{
    codec::{Fingerprint, SchemaCache, fingerprint_of, own_schemas},
    event::{Assignment, Document, Outcome, Reading},
    topic::Topics,
};
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
    /// schema of this release is not published, if events are written with a schema that is neither published nor of this release,
    /// or if this release cannot read an event.
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
    /// What is published under its fingerprint is no schema, or another one: consumers wait at its events.
    Unusable,
    /// There is none: the records are no events.
    None,
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
    /// The number of events that this release cannot read, because it is too old for them or because they are broken.
    unreadable: u64,
}

/// The events of a schema; under `None` the records that are no events.
type Counted = BTreeMap<Option<Fingerprint>, Events>;

#[derive(Default)]
struct Events {
    by_topic: BTreeMap<String, u64>,
    unreadable: u64,
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
        State::Current | State::OtherRelease => schema.unreadable == 0,
        State::Unpublished | State::Unknown | State::Unusable | State::None => false,
    });
    Ok(ExitCode::from(u8::from(!is_right)))
}

fn find(cluster: &Cluster, records: u32) -> Result<Vec<Found>, CommandError> {
    let failed = |error: KafkaError| CommandError::failed("reading the topics", error);
    let own = own_schemas().map_err(|error| CommandError::failed("reading the compiled-in schemas", error))?;
    let published = schema_topic::read(cluster, GROUP, ANSWER).map_err(failed)?;
    let mut cache =
        SchemaCache::new().map_err(|error| CommandError::failed("reading the compiled-in schemas", error))?;
    let unusable: BTreeSet<Fingerprint> =
        published.iter().filter(|(key, text)| cache.add(*key, text).is_err()).map(|(key, _)| *key).collect();
    let mut events = Counted::new();
    for schema in &own {
        events.entry(Some(schema.fingerprint)).or_default();
    }
    for topic in Topic::ALL {
        count(cluster, topic, records, &cache, &mut events).map_err(failed)?;
    }
    let is_published = |fingerprint| published.iter().any(|(key, _)| *key == fingerprint);
    let state = |fingerprint: Option<Fingerprint>, is_own| match (fingerprint, is_own) {
        (None, _) => State::None,
        (Some(fingerprint), _) if unusable.contains(&fingerprint) => State::Unusable,
        (Some(fingerprint), true) if is_published(fingerprint) => State::Current,
        (Some(fingerprint), false) if is_published(fingerprint) => State::OtherRelease,
        (Some(_), true) => State::Unpublished,
        (Some(_), false) => State::Unknown,
    };
    let found = |(fingerprint, counted): (Option<Fingerprint>, Events)| {
        let name = own.iter().find(|schema| Some(schema.fingerprint) == fingerprint).map(|schema| schema.name);
        let Events { by_topic: events, unreadable } = counted;
        let state = state(fingerprint, name.is_some());
        let fingerprint = fingerprint.map_or_else(|| "no fingerprint".to_owned(), |known| known.to_string());
        Found { fingerprint, name, state, events, unreadable }
    };
    Ok(events.into_iter().map(found).collect())
}

/// An event topic whose events have schemas.
#[derive(Debug, Clone, Copy)]
enum Topic {
    Readings,
    ReadingsBulk,
    Assignments,
    Documents,
    Outcomes,
}

impl Topic {
    const ALL: [Self; 5] = [Self::Readings, Self::ReadingsBulk, Self::Assignments, Self::Documents, Self::Outcomes];

    fn full_name(self, topics: &Topics) -> String {
        match self {
            Self::Readings => topics.readings(),
            Self::ReadingsBulk => topics.readings_bulk(),
            Self::Assignments => topics.assignments(),
            Self::Documents => topics.documents(),
            Self::Outcomes => topics.outcomes(),
        }
    }

    /// Whether this release can read an event of the topic.
    fn is_readable(self, cache: &SchemaCache, event: &[u8]) -> bool {
        match self {
            Self::Readings | Self::ReadingsBulk => cache.decode::<Reading>(event).is_ok(),
            Self::Assignments => cache.decode::<Assignment>(event).is_ok(),
            Self::Documents => cache.decode::<Document>(event).is_ok(),
            Self::Outcomes => cache.decode::<Outcome>(event).is_ok(),
        }
    }
}

/// Counts the last events of each partition of a topic by the fingerprint of their schema. Blocks.
fn count(
    cluster: &Cluster,
    of: Topic,
    records: u32,
    cache: &SchemaCache,
    events: &mut Counted,
) -> Result<(), KafkaError> {
    let topic = &of.full_name(&cluster.topics);
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
        if let Some(event) = message.payload() {
            let fingerprint = fingerprint_of(event).ok().map(|(fingerprint, _datum)| fingerprint);
            let counted = events.entry(fingerprint).or_default();
            *counted.by_topic.entry(topic.clone()).or_default() += 1;
            counted.unreadable += u64::from(!of.is_readable(cache, event));
        }
    }
    Ok(())
}

fn line(schema: &Found) -> String {
    let Found { fingerprint, name, state, events, unreadable } = schema;
    let name = name.unwrap_or(if *state == State::None { "no schema" } else { "a schema of another release" });
    let state = match state {
        State::Current => "of this release, published",
        State::Unpublished => {
            "of this release, NOT published; a normalizer of this release publishes it when it starts"
        }
        State::OtherRelease => "published",
        State::Unknown => "NOT published, and not of this release; consumers wait at its events",
        State::Unusable => "what is published under it is NOT this schema; consumers wait at its events",
        State::None => "records that are NOT events; consumers wait at them",
    };
    let counts: Vec<String> = events.iter().map(|(topic, count)| format!("{topic} {count}")).collect();
    let counts = if counts.is_empty() { "none of the events read".to_owned() } else { counts.join(", ") };
    let unreadable =
        if *unreadable == 0 { String::new() } else { format!("; this release can NOT read {unreadable} of them") };
    format!("{fingerprint} {name}: {state}; {counts}{unreadable}")
}
