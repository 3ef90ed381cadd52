//! The peer of the normalizer: consumes, produces and commits, and does not change its records.

use std::time::Duration;

use clap::Args;
use rdkafka::{
    Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use service::kafka::{GroupProtocol, KafkaSettings};

use crate::Result;

const BATCH: u32 = 10_000;

/// The arguments of the copier.
#[derive(Args)]
pub(crate) struct CopierArgs {
    /// The bootstrap servers of Kafka.
    #[arg(long)]
    bootstrap: String,
    /// The topic to read.
    #[arg(long)]
    from: String,
    /// The topic to write.
    #[arg(long)]
    to: String,
}

/// Copies until the process is ended.
pub(crate) async fn run(args: CopierArgs) -> Result<()> {
    tokio::task::spawn_blocking(move || copy(&args)).await?
}

fn copy(args: &CopierArgs) -> Result<()> {
    let settings = KafkaSettings::new(&args.bootstrap);
    let mut config = settings.consumer(&format!("{}-copier", args.from), GroupProtocol::Consumer);
    let consumer: BaseConsumer =
        config.set("auto.offset.reset", "earliest").set("enable.auto.offset.store", "true").create()?;
    consumer.subscribe(&[&args.from])?;
    let producer: ThreadedProducer<DefaultProducerContext> = settings.producer().create()?;
    let mut uncommitted = 0;
    loop {
        let message = consumer.poll(Duration::from_millis(50)).transpose()?;
        if let Some(message) = &message {
            let mut record = BaseRecord::to(&args.to)
                .key(message.key().unwrap_or_default())
                .payload(message.payload().unwrap_or_default());
            while let Err((error, refused)) = producer.send(record) {
                if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                    return Err(error.into());
                }
                record = refused;
                std::thread::sleep(Duration::from_millis(1));
            }
            uncommitted += 1;
        }
        if uncommitted > 0 && (uncommitted >= BATCH || message.is_none()) {
            producer.flush(Duration::from_secs(30))?;
            consumer.commit_consumer_state(CommitMode::Async)?;
            uncommitted = 0;
        }
    }
}
