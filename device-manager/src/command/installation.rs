//! The installation that an operator's command works on.

use std::path::PathBuf;

use clap::Args;
use schemas::receipt::ReceiptKey;
use service::cluster::Cluster;

use super::{KafkaArgs, reach, receipt_secret};
use crate::error::CommandError;

/// The brokers, the database and the secrets of an installation.
#[derive(Args)]
pub(crate) struct InstallationArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// The file with the secret that signs receipts; the same as the ingress's.
    #[arg(long, env = "RECEIPT_KEY_FILE", default_value = ".device-manager/receipt.key")]
    receipt_key_file: PathBuf,
    /// The topic epoch of the raw topics; the same as the ingress's.
    #[arg(long, env = "TOPIC_EPOCH", default_value_t = 0)]
    pub(crate) topic_epoch: u16,
}

impl InstallationArgs {
    /// Reads the secret, and returns it and the key of receipts that is derived from it.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(crate) fn secret(&self) -> Result<([u8; 32], ReceiptKey), CommandError> {
        let secret = receipt_secret(&self.receipt_key_file)?;
        let key = ReceiptKey::new(&secret).map_err(CommandError::usage)?;
        Ok((secret, key))
    }

    /// Returns the cluster. It answers.
    ///
    /// # Errors
    /// A variable cannot be used, or Kafka does not answer.
    pub(crate) async fn cluster(&self) -> Result<Cluster, CommandError> {
        let cluster = self.kafka.cluster()?;
        reach(&cluster.settings).await?;
        Ok(cluster)
    }
}
