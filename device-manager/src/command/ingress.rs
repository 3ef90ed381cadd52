//! `device-manager ingress`.

use std::process::ExitCode;

use clap::Args;

use super::KafkaArgs;
use crate::{
    boot::{Process, ProcessArgs, log_ignored_variables},
    error::{CommandError, chain},
};

/// Receive payloads and device commands over HTTP and store them on Kafka.
///
/// A request is answered 2xx only when Kafka has stored it. The ingress does not start without an API key: `device-manager
/// keys create` creates one.
#[derive(Args)]
#[command(after_help = "Example:
  device-manager keys create --file keys.json --source portal --scope health-data:write
  openssl rand -hex 32 > receipt.key && chmod 600 receipt.key
  device-manager ingress --keys-file keys.json --receipt-key-file receipt.key")]
pub struct IngressCommand {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    ingress: ingress::IngressArgs,
}

/// Runs until SIGTERM.
///
/// # Errors
/// The configuration is unsafe or incomplete, or a port is in use.
pub async fn run(args: IngressCommand) -> Result<ExitCode, CommandError> {
    let config = ingress::IngressConfig::from(&args.ingress);
    let cluster = args.kafka.cluster_of_stage()?;
    ingress::check(&config).map_err(|error| CommandError::usage(chain(&error)))?;
    let mut process = Process::boot(&args.process).await?;
    log_ignored_variables(&cluster.settings);
    let listener = ingress::listen(&config).map_err(|error| CommandError::failed("the ingress", error))?;
    let (health, shutdown) = (process.health.stage("ingress"), process.shutdown.clone());
    process.stage("the ingress", ingress::run(config, listener, cluster, health, shutdown));
    process.wait().await.map(|()| ExitCode::SUCCESS)
}
