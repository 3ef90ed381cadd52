//! `device-manager topics apply|check`.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use service::{
    cluster::Cluster,
    kafka::{HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS},
    topics::{Existing, Failover, Finding, RetentionPolicy, Size, TopicsError, apply_with, check, failover},
};

use super::{KafkaArgs, reach};
use crate::{error::CommandError, output::Output};

/// The default number of partitions of a new topic.
const PARTITIONS: i32 = 6;

/// Create the Kafka topics, or check whether they still have the required settings.
///
/// Exit code 0 if all is right; 1 if a topic is missing, differs, or keeps its records longer than required, or if Kafka
/// does not answer within 10 s.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  device-manager topics apply --partitions 12
  device-manager topics check && echo all right")]
pub struct TopicsArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    kafka: KafkaArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create missing topics and correct settings. No topic or partition is removed, no record is removed without --yes, and no
    /// other setting is changed.
    Apply {
        /// The number of partitions of each topic; more partitions let more processes share the work. An existing topic gets the
        /// partitions that it lacks; running processes find them within five minutes. Cannot be lowered later. By default new
        /// topics get 6, and existing topics are not changed.
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..=10_000))]
        partitions: Option<i32>,
        /// The number of replicas of each new partition; -1 means three, or one on each broker if there are fewer. With three or
        /// more, a record is on two of them before it is acknowledged.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        replication: i32,
        /// Also lower a retention that is longer than required. Older records are removed.
        #[arg(long)]
        yes: bool,
    },
    /// Compare each topic with the required settings, and show how long it takes until another process takes over the
    /// partitions of a killed one.
    Check {
        /// The required number of replicas of each partition; -1 means three, or one on each broker if there are fewer.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        replication: i32,
    },
}

/// Runs the command.
///
/// # Errors
/// Kafka is not configured, does not answer, or refuses the request.
pub async fn run(args: TopicsArgs, output: &mut Output) -> Result<ExitCode, CommandError> {
    let Cluster { settings, topics } = args.kafka.cluster()?;
    reach(&settings).await?;
    let client = settings.client();
    match args.action {
        Action::Apply { partitions, replication, yes } => {
            let retention = if yes { RetentionPolicy::Lower } else { RetentionPolicy::Keep };
            let size = Size { partitions: partitions.unwrap_or(PARTITIONS), replication };
            report(apply_with(&client, &topics, size, Existing { retention, partitions }).await?, output)
        }
        Action::Check { replication } => {
            let code = report(check(&client, &topics, replication).await?, output)?;
            for line in sessions(failover(&client).await?) {
                output.line(&line)?;
            }
            Ok(code)
        }
    }
}

fn report(findings: Vec<(String, Finding)>, output: &mut Output) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for (topic, finding) in findings {
        match &finding {
            Finding::Right | Finding::Created | Finding::Corrected { .. } => {}
            Finding::Missing
            | Finding::Differs { .. }
            | Finding::LongerRetention { .. }
            | Finding::Partitions { .. }
            | Finding::Replicas { .. } => code = ExitCode::from(1),
        }
        output.line(&format!("{topic}: {}", text(&finding)))?;
    }
    Ok(code)
}

/// Describes what was found, and how to correct it.
fn text(finding: &Finding) -> String {
    match finding {
        Finding::Right => "right".to_owned(),
        Finding::Created => "created".to_owned(),
        Finding::Corrected { setting, was, is } => format!("{setting} was {was}, is {is} now"),
        Finding::Missing => "missing; `device-manager topics apply` creates it".to_owned(),
        Finding::Differs { setting, is, must_be } => {
            format!("{setting} is {is}, must be {must_be}; `device-manager topics apply` corrects it")
        }
        Finding::LongerRetention { setting, is, must_be } => format!(
            "{setting} is {is}, must be {must_be}: it keeps records longer than it must; `device-manager topics apply --yes` lowers \
             the setting, and older records are removed"
        ),
        Finding::Partitions { current, requested } => {
            format!(
                "{current} partitions, {requested} asked for; Kafka removes none: ask for {current}, or for more to add some"
            )
        }
        Finding::Replicas { current, must_be } => format!(
            "{current} copies, must be {must_be}; Kafka's `kafka-reassign-partitions.sh` adds more, then `device-manager topics apply` \
             sets min.insync.replicas (or set --replication, if fewer are enough)"
        ),
    }
}

/// Describes how long it takes until a killed process is replaced, which follows from the session timeouts of the brokers.
fn sessions(found: Option<Failover>) -> Vec<String> {
    let Some(found) = found else {
        return vec!["sessions: the brokers do not show their settings to this user".to_owned()];
    };
    let shown = |time: Option<Duration>| time.map_or("?".to_owned(), |time| time.as_millis().to_string());
    let consumer = found.consumer().map_or_else(
        || "sessions: the brokers do not support the group protocol consumer".to_owned(),
        |time| {
            format!(
                "sessions: group protocol consumer: after kill -9 another process takes over within {} s \
                 (group.consumer.session.timeout.ms={} and then a heartbeat, group.consumer.heartbeat.interval.ms={}; \
                 group.consumer.min.session.timeout.ms={} on the brokers; only there can it be lowered)",
                time.as_secs_f64().ceil(),
                shown(found.consumer_session),
                shown(found.consumer_heartbeat),
                shown(found.consumer_session_min),
            )
        },
    );
    let min = shown(found.classic_session_min);
    let classic = found.classic().map_or_else(
        || format!("sessions: group protocol classic: refused by the brokers, whose group.min.session.timeout.ms={min} is too long"),
        |time| {
            format!(
                "sessions: group protocol classic: after kill -9 another process takes over within {} s \
                 (a session of {SESSION_TIMEOUT_MS} ms and then two heartbeats of {HEARTBEAT_INTERVAL_MS} ms, which cannot be \
                 configured; group.min.session.timeout.ms={min} on the brokers)",
                time.as_secs_f64().ceil()
            )
        },
    );
    vec![consumer, classic]
}

impl From<TopicsError> for CommandError {
    fn from(error: TopicsError) -> Self {
        Self::failed("the topics", error)
    }
}
