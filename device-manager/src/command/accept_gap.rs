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

/// Accept that events are gone which no sink has written, and go on with what is there.
///
/// A sink does not read a partition whose next event has left its log, because the retention ended before it was written: /ready
/// names it. This command raises the sink's position to where the log begins and records that in the table accepted_gaps. The raw
/// topics still have what the events were made of.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager sink accept-gap --topic readings --partition 2
  device-manager sink accept-gap    # every partition that has a gap")]
pub struct AcceptGapCommand {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The event topic, with or without the prefix; all of them when not given.
    #[arg(long)]
    topic: Option<String>,
    /// Its partition; all of them when not given.
    #[arg(long, requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
}

/// Runs the command.
///
/// # Errors
/// The topic is none of events, no sink was given the partition, or Kafka or the database is away.
pub async fn run(args: AcceptGapCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let Cluster { settings, topics } = args.kafka.cluster()?;
    let named = |topic: &String| {
        event_topic(&topics, topic).ok_or_else(|| CommandError::usage(format!("{topic} is no event topic")))
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
        output.line("no gap: each log still has what is to be read next")?;
    }
    for gap in gaps {
        let Gap { topic, partition, from, to } = &gap;
        let accepted = skip::accept(&mut connection, &gap).await?;
        output.line(&if accepted {
            format!(
                "{topic} partition {partition}: goes on at {to}, the {} events from {from} on are given up",
                to - from
            )
        } else {
            format!("{topic} partition {partition}: a sink has moved it meanwhile; nothing changed")
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Which logs begin behind the next event. Blocks.
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
