//! `device-manager payload`: prints a payload as it was received.

use std::process::ExitCode;

use clap::Args;
use rdkafka::Message as _;
use schemas::{
    content::{ContentHasher, ContentKey},
    raw::header,
    receipt::ItemPosition,
    upload::{Upload, UploadPart},
};
use service::cluster::Cluster;
use store::audit;
use tokio::sync::mpsc;

use super::{
    connect,
    installation::InstallationArgs,
    operator::OperatorArgs,
    raw_log::{ReadError, header_of, record, records, upload_of},
};
use crate::{
    error::CommandError,
    output::{Output, remark},
};

/// Print a payload as it was received, byte for byte.
///
/// The bytes go to standard output; on a terminal, control characters are escaped. Of a large upload, all chunks are printed. If the
/// receipt names an item of a payload, the whole payload is printed. Before anything is printed, the table `audit` records who looked.
///
/// Exit code 1 if the record was deleted, or if the bytes are not those that were received, by the keyed hash in the record.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager payload AAAB… --reveal
  device-manager payload AAAB… --reveal > payload.json")]
pub struct PayloadCommand {
    /// The receipt, from the answer of the ingress, from the view attributed_readings, or from another command.
    receipt: String,
    /// Print the payload, which may contain health data.
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    operator: OperatorArgs,
    #[command(flatten)]
    installation: InstallationArgs,
}

/// Runs the command.
///
/// # Errors
/// The word is not a receipt, --reveal is missing, the record does not exist any more, or Kafka or the database does not answer.
pub async fn run(args: PayloadCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let (secret, receipt_key) = args.installation.secret()?;
    let position = receipt_key.read(&args.receipt).map_err(CommandError::usage)?;
    if !args.reveal {
        return Err(CommandError::usage(
            "a payload may contain health data: --reveal prints it, and the table audit records who looked",
        ));
    }
    let operator = args.operator.name()?;
    let cluster = args.installation.cluster().await?;
    let mut connection = connect(&args.installation.database_url).await?;
    let detail = format!("receipt {}", args.receipt.trim());
    let mut payload = Payload::open(cluster, args.installation.topic_epoch, position).await?;
    audit::record(&mut connection, &operator, "payload", &detail).await?;
    let mut hasher = ContentKey::derive(&secret).map_err(CommandError::usage)?.hasher();
    let is_whole = payload.print(&mut hasher, output).await?;
    if !is_whole || hasher.finish().to_hex() != payload.hash {
        let why = "the bytes are not those that were received: a part is missing or altered, or another key was used";
        return Err(CommandError::failed("checking the payload", why));
    }
    Ok(ExitCode::SUCCESS)
}

/// A payload on a raw topic.
pub(super) struct Payload {
    cluster: Cluster,
    position: ItemPosition,
    upload: Option<Upload>,
    /// The bytes of the record itself.
    body: Vec<u8>,
    /// The keyed hash of the whole payload.
    hash: String,
}

impl Payload {
    /// Reads the record of a payload.
    ///
    /// # Errors
    /// The record does not exist any more, or Kafka does not answer.
    pub(super) async fn open(cluster: Cluster, topic_epoch: u16, position: ItemPosition) -> Result<Self, CommandError> {
        if position.topic_epoch != topic_epoch {
            let why = format!(
                "the payload was on an earlier {}, with the topic epoch {} and not {topic_epoch} (TOPIC_EPOCH)",
                position.topic.as_str(),
                position.topic_epoch
            );
            return Err(CommandError::failed("reading the payload", why));
        }
        let (own, topic) = (cluster.clone(), cluster.topics.raw(position.topic));
        let read = tokio::task::spawn_blocking(move || record(&own, &topic, position.partition, position.offset)).await;
        let message = read.map_err(failed)?.map_err(failed)?;
        let Some(body) = message.payload() else {
            return Err(failed("the record has no value: it was erased"));
        };
        Ok(Self {
            upload: upload_of(&message),
            hash: header_of(&message, header::CONTENT_HMAC).unwrap_or_default().to_owned(),
            body: body.to_vec(),
            cluster,
            position,
        })
    }

    /// Prints all bytes, and adds them to the hasher. Returns whether all parts of a large upload exist.
    async fn print(&mut self, hasher: &mut ContentHasher, output: &mut Output) -> Result<bool, CommandError> {
        let Some(upload) = &self.upload else {
            hasher.update(&self.body);
            output.bytes(&self.body)?;
            return Ok(true);
        };
        let UploadPart::Manifest { chunks, bytes, first } = upload.part() else {
            remark("the upload was never completed: this is its first chunk");
            hasher.update(&self.body);
            output.bytes(&self.body)?;
            return Ok(true);
        };
        let (sender, mut receiver) = mpsc::channel(4);
        let (cluster, id, ItemPosition { topic, partition, offset, .. }) =
            (self.cluster.clone(), upload.id(), self.position);
        let reading = tokio::task::spawn_blocking(move || {
            records(&cluster, &cluster.topics.raw(topic), partition, first..offset, |message| {
                let part = upload_of(&message).filter(|upload| upload.id() == id).map(|upload| upload.part());
                let Some(UploadPart::Chunk { number }) = part else { return true };
                sender.blocking_send((number, message.payload().unwrap_or_default().to_vec())).is_ok()
            })
        });
        let (mut next, mut length) = (0, 0_u64);
        while let Some((number, chunk)) = receiver.recv().await {
            // The ingress may have written a chunk again, and writes none out of order.
            if number == next {
                (next, length) = (next + 1, length + chunk.len() as u64);
                hasher.update(&chunk);
                output.bytes(&chunk)?;
            }
        }
        let read: Result<(), ReadError> = reading.await.map_err(failed)?;
        read.map_err(failed)?;
        Ok((next, length) == (chunks, bytes))
    }

    /// The bytes of the record itself; for a large upload, empty.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CommandError {
    CommandError::failed("reading the payload", error)
}
