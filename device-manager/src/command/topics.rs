//! `device-manager topics apply|check`.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use service::{
    cluster::Cluster,
    kafka::{HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS},
    topics::{Existing, Failover, Finding, Lowering, Size, TopicsError, apply_with, check, failover},
};

use super::{KafkaArgs, reach};
use crate::{error::CommandError, output::Output};

/// How many partitions a new topic gets where nobody says.
const PARTITIONS: i32 = 6;

/// Make the Kafka topics, or see whether they still are what the promises rest on.
///
/// Exit code 0 when all is right; 1 when a topic is missing, differs, or keeps its records longer than it must, or when Kafka does
/// not answer within 10 s.
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
    /// Make missing topics and correct settings. No topic, partition or record is removed, and no other setting is touched.
    Apply {
        /// Partitions of each topic; more partitions let more processes share the work. A topic that exists gets those that it
        /// lacks; running processes find them within five minutes. Cannot be lowered later. Without it new topics get 6, and
        /// existing ones stay as they are.
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..=10_000))]
        partitions: Option<i32>,
        /// Copies of each new partition; -1 makes three, or one on each broker where there are fewer. With three or more, a record
        /// is in two of them before it is acknowledged.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        replication: i32,
        /// Also lower a retention that is longer than it must be. Older records are removed.
        #[arg(long)]
        yes: bool,
    },
    /// Compare each topic with what it must be, and say how long the partitions of a killed process wait for another one.
    Check {
        /// How many copies each partition must have; -1 wants three, or one on each broker where there are fewer.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        replication: i32,
    },
}

/// Runs the command.
///
/// # Errors
/// Kafka is not configured, does not answer, or refuses.
pub async fn run(args: TopicsArgs, output: &mut Output) -> Result<ExitCode, CommandError> {
    let Cluster { settings, topics } = args.kafka.cluster()?;
    reach(&settings).await?;
    let client = settings.client();
    match args.action {
        Action::Apply { partitions, replication, yes } => {
            let lowering = if yes { Lowering::Apply } else { Lowering::Report };
            let size = Size { partitions: partitions.unwrap_or(PARTITIONS), replication };
            report(apply_with(&client, &topics, size, Existing { lowering, partitions }).await?, output)
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
            | Finding::Keeps { .. }
            | Finding::Partitions { .. }
            | Finding::Copies { .. } => code = ExitCode::from(1),
        }
        output.line(&format!("{topic}: {}", text(&finding)))?;
    }
    Ok(code)
}

/// What was found, and the way out where there is something to be done.
fn text(finding: &Finding) -> String {
    match finding {
        Finding::Right => "right".to_owned(),
        Finding::Created => "created".to_owned(),
        Finding::Corrected { setting, was, is } => format!("{setting} was {was}, is {is} now"),
        Finding::Missing => "missing; `device-manager topics apply` makes it".to_owned(),
        Finding::Differs { setting, is, must_be } => {
            format!("{setting} is {is}, must be {must_be}; `device-manager topics apply` corrects it")
        }
        Finding::Keeps { setting, is, must_be } => format!(
            "{setting} is {is}, must be {must_be}: it keeps records longer than it must; `device-manager topics apply --yes` lowers \
             it, and older records are removed"
        ),
        Finding::Partitions { are, asked } => {
            format!("{are} partitions, {asked} asked for; Kafka removes none: ask for {are}, or for more to add some")
        }
        Finding::Copies { are, must_be } => format!(
            "{are} copies, must be {must_be}; Kafka's `kafka-reassign-partitions.sh` makes more, then `device-manager topics apply` \
             sets min.insync.replicas (or say with --replication that fewer will do)"
        ),
    }
}

/// What the brokers' time-outs mean for whoever waits for a killed process to be replaced.
fn sessions(found: Option<Failover>) -> Vec<String> {
    let Some(found) = found else {
        return vec!["sessions: the brokers do not show their settings to this user".to_owned()];
    };
    let shown = |time: Option<Duration>| time.map_or("?".to_owned(), |time| time.as_millis().to_string());
    let consumer = found.consumer().map_or_else(
        || "sessions: the brokers do not know the group protocol consumer".to_owned(),
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
                 (a session of {SESSION_TIMEOUT_MS} ms and then two heartbeats of {HEARTBEAT_INTERVAL_MS} ms, which are not to be \
                 set; group.min.session.timeout.ms={min} on the brokers)",
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
