//! `device-manager sink accept-gap`.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use service::{cluster::Cluster, kafka::KafkaSettings};
use store::{
    skip::{self, Gap},
    trace::{NextOffset, next_offsets},
};

use super::{
    KafkaArgs, connect, reach,
    skip::{event_topic, no_partition},
};
use crate::{error::CommandError, output::Output};

const ANSWER: Duration = Duration::from_secs(10);

/// Accept the loss of events that were deleted before a sink wrote them, and continue with the events that remain.
///
/// If retention deletes the next event of a partition before a sink has written it, the sink stops reading the partition,
/// and /ready names it. This command advances the position of the sinks to the start of the log, and records that in the
/// table accepted_gaps. The raw topics still contain the records from which the events were made.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager sink accept-gap --topic readings --partition 2
  device-manager sink accept-gap    # every partition that has a gap")]
pub struct AcceptGapCommand {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The event topic, with or without the prefix. By default all event topics.
    #[arg(long)]
    topic: Option<String>,
    /// The partition of the topic. By default all partitions.
    #[arg(long, requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
}

/// Runs the command.
///
/// # Errors
/// The topic is not an event topic, the partition was never assigned to a sink, or Kafka or the database is not reachable.
pub async fn run(args: AcceptGapCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let Cluster { settings, topics } = args.kafka.cluster()?;
    let named = |topic: &String| {
        event_topic(&topics, topic).ok_or_else(|| CommandError::usage(format!("{topic} is not an event topic")))
    };
    let topic = args.topic.as_ref().map(named).transpose()?;
    let mut connection = connect(&args.database_url).await?;
    let mut next = next_offsets(&mut connection).await?;
    next.retain(|next| {
        event_topic(&topics, &next.topic).as_ref() == Some(&next.topic)
            && topic.as_ref().is_none_or(|topic| *topic == next.topic)
            && args.partition.is_none_or(|wanted| wanted == next.partition)
    });
    if let (Some(topic), Some(partition), []) = (&topic, args.partition, &next[..]) {
        return Err(no_partition(topic, partition));
    }
    reach(&settings).await?;
    let gaps = tokio::task::spawn_blocking(move || gaps(&settings, next))
        .await
        .map_err(|error| CommandError::failed("asking Kafka", error))?
        .map_err(|error| CommandError::failed("asking Kafka", error))?;
    if gaps.is_empty() {
        output.line("no gap: each log still contains the next event to read")?;
    }
    for gap in gaps {
        let Gap { topic, partition, from, to } = &gap;
        let accepted = skip::accept(&mut connection, &gap).await?;
        output.line(&if accepted {
            format!(
                "{topic} partition {partition}: continues at offset {to}; the {} events from offset {from} on are given up",
                to - from
            )
        } else {
            format!("{topic} partition {partition}: a sink has changed the offset meanwhile; nothing changed")
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the gaps: logs that begin after the next event to read. Blocks.
fn gaps(settings: &KafkaSettings, next: Vec<NextOffset>) -> Result<Vec<Gap>, KafkaError> {
    let client: BaseConsumer = settings.client().create()?;
    let mut gaps = Vec::new();
    for NextOffset { topic, partition, next_offset: from } in next {
        let (to, _) = client.fetch_watermarks(&topic, partition, ANSWER)?;
        if from < to {
            gaps.push(Gap { topic, partition, from, to });
        }
    }
    Ok(gaps)
}
