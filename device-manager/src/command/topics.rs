//! `device-manager topics apply|check`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use schemas::topic::Topics;
use service::topics::{Finding, Size, TopicsError, apply, check};

use super::{KafkaArgs, Output};

/// Make the Kafka topics, or see whether they still are what the promises rest on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  device-manager topics apply --partitions 12 --replication 3
  device-manager topics check && echo all right")]
pub struct TopicsArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    kafka: KafkaArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make missing topics and correct settings. Nothing is ever removed, and no other setting is touched.
    Apply {
        /// Partitions of each new topic; more partitions let more processes share the work. Cannot be lowered later.
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=10_000))]
        partitions: i32,
        /// Copies of each new partition; -1 takes the brokers' default. Use 3 on a cluster of three or more.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        replication: i32,
    },
    /// Compare each topic with what it must be; exit code 1 when one is missing or differs.
    Check,
}

/// Runs the command.
///
/// # Errors
/// Kafka is not configured, does not answer, or refuses.
pub async fn run(args: TopicsArgs, output: &mut Output) -> Result<ExitCode, super::CommandError> {
    let client = args.kafka.settings()?.client();
    let topics = Topics::new(&args.kafka.topic_prefix);
    let findings = match args.action {
        Action::Apply { partitions, replication } => apply(&client, &topics, Size { partitions, replication }).await,
        Action::Check => check(&client, &topics).await,
    };
    report(findings?, output)
}

fn report(findings: Vec<(String, Finding)>, output: &mut Output) -> Result<ExitCode, super::CommandError> {
    let mut all_right = true;
    for (topic, finding) in findings {
        let line = match finding {
            Finding::Right => format!("{topic}: right"),
            Finding::Created => format!("{topic}: created"),
            Finding::Corrected { setting, was, is } => format!("{topic}: {setting} was {was}, is {is} now"),
            Finding::Missing => {
                all_right = false;
                format!("{topic}: missing; `device-manager topics apply` makes it")
            }
            Finding::Differs { setting, is, must_be } => {
                all_right = false;
                format!("{topic}: {setting} is {is}, must be {must_be}; `device-manager topics apply` corrects it")
            }
        };
        output.line(&line)?;
    }
    Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

impl From<TopicsError> for super::CommandError {
    fn from(error: TopicsError) -> Self {
        Self::failed("the topics", error)
    }
}
