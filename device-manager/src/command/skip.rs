//! `device-manager skip`.

use std::process::ExitCode;

use ::sink::item::EventTopic;
use clap::Args;
use schemas::topic::Topics;
use store::skip::{self, EventPosition, Requested};

use super::connect;
use crate::{error::CommandError, output::Output};

/// Skip one record of an event topic that no sink can read.
///
/// A sink waits in front of an event that it cannot read, and /ready names the event. If neither an upgrade nor the
/// publication of its schema helps, this command requests that the record is skipped. Only the sink that waits at exactly
/// this record does so, and leaves a dead letter with the reason `skipped` that contains the record. For any other record
/// the command has no effect. The command fails for a partition that was never assigned to a sink.
#[derive(Args)]
#[command(after_help = "Example:
  . .device-manager/env; device-manager skip --topic readings --partition 2 --offset 17 --reason 'a foreign producer'")]
pub struct SkipCommand {
    /// The event topic, with or without the prefix.
    #[arg(long)]
    topic: String,
    /// The partition of the topic.
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,
    /// The offset of the record.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    offset: i64,
    /// The reason, up to 200 characters. It becomes the detail of the dead letter, so it must not contain health data.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// A prefix of every topic name, for installations that share a cluster.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    topic_prefix: String,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

fn reason(text: &str) -> Result<String, &'static str> {
    let length = text.trim().chars().count();
    if length == 0 || length > 200 || text.chars().any(char::is_control) {
        return Err("1 to 200 characters, none of them a control character");
    }
    Ok(text.trim().to_owned())
}

/// Runs the command.
///
/// # Errors
/// The topic is not an event topic, the partition was never assigned to a sink, or the database is not reachable or not
/// migrated.
pub async fn run(args: SkipCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let topics = Topics::new(&args.topic_prefix);
    let (partition, offset) = (args.partition, args.offset);
    let topic = event_topic(&topics, &args.topic).ok_or_else(|| refusal(&topics, &args))?;
    let mut connection = connect(&args.database_url).await?;
    let record = EventPosition { topic: &topic, partition, offset };
    let became = match skip::request(&mut connection, record, &args.reason).await? {
        Requested::Recorded => "requested; a sink that reaches this record and cannot read it skips it".to_owned(),
        Requested::AlreadyRecorded => "was requested before; nothing changed".to_owned(),
        Requested::AlreadyPassed(next) => format!("the sinks are past it, the next offset is {next}; nothing changed"),
        Requested::NeverAssigned => return Err(no_partition(&topic, partition)),
    };
    output.line(&format!("{topic} partition {partition} offset {offset}: {became}"))?;
    Ok(ExitCode::SUCCESS)
}

/// The error for a partition that is not in the database. A sink stores each partition there before it reads it.
pub(super) fn no_partition(topic: &str, partition: i32) -> CommandError {
    CommandError::usage(format!(
        "{topic} has no partition {partition}, or it was not assigned to a sink of this database yet"
    ))
}

/// Returns the full name of an event topic that is given with or without the prefix.
pub(super) fn event_topic(topics: &Topics, given: &str) -> Option<String> {
    let bare = Topics::new("");
    EventTopic::ALL
        .into_iter()
        .find(|topic| topic.full_name(topics) == given || topic.full_name(&bare) == given)
        .map(|topic| topic.full_name(topics))
}

fn refusal(topics: &Topics, args: &SkipCommand) -> CommandError {
    let SkipCommand { topic, partition, offset, .. } = args;
    match topics.raw_of(topic).or_else(|| Topics::new("").raw_of(topic)) {
        Some(raw) => CommandError::usage(format!(
            "{topic} is a raw topic, which the normalizers read: start them with --skip {}:{partition}:{offset}",
            raw.as_str()
        )),
        None => CommandError::usage(format!("{topic} is not an event topic")),
    }
}
