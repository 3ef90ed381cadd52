//! Faults of the topics.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
};
use schemas::format::RawTopic;

use super::target::{Hit, Target};
use crate::error::ChaosError;

/// How long dead letters are refused.
const REFUSED: Duration = Duration::from_secs(6);
const ANSWER: Duration = Duration::from_secs(10);
/// What no sender sends, and no ingress stores.
const POISON: &[u8] = b"\xff\x00 not a payload";

/// Appends a record without headers to each partition of the topics of payloads.
pub(super) async fn poison_records(target: &Target<'_>) -> Result<Hit, ChaosError> {
    let installation = target.installation;
    let producer: FutureProducer = installation.kafka().producer().create()?;
    target
        .strike(async {
            for topic in [RawTopic::Medisante, RawTopic::HealthKit, RawTopic::Devices] {
                let name = installation.topics.raw(topic);
                for partition in 0..i32::from(installation.partitions) {
                    let record = FutureRecord::<(), _>::to(&name).partition(partition).payload(POISON);
                    producer.send(record, ANSWER).await.map_err(|(error, _)| error)?;
                }
            }
            Ok::<_, KafkaError>(())
        })
        .await
}

/// Requires more replicas for the topic of dead letters than there are brokers, so that the broker refuses each record of it.
pub(super) async fn dead_letters_refused(target: &Target<'_>) -> Result<Hit, ChaosError> {
    let hit = target.strike(require_replicas(target, "2")).await?;
    tokio::time::sleep(REFUSED).await;
    require_replicas(target, "1").await?;
    Ok(hit)
}

async fn require_replicas(target: &Target<'_>, replicas: &str) -> Result<(), ChaosError> {
    let installation = target.installation;
    let admin: AdminClient<DefaultClientContext> = installation.kafka().client().create()?;
    let name = installation.topics.dead_letters();
    // The request replaces all settings of the topic.
    let specs = installation.topics.specs();
    let settings = specs.iter().filter(|spec| spec.name == name).flat_map(|spec| spec.settings);
    let config =
        settings.fold(AlterConfig::new(ResourceSpecifier::Topic(&name)), |config, (key, value)| config.set(key, value));
    let answers = admin.alter_configs(&[config.set("min.insync.replicas", replicas)], &AdminOptions::new()).await?;
    match answers.into_iter().find_map(Result::err) {
        Some((_, code)) => Err(KafkaError::AdminOp(code).into()),
        None => Ok(()),
    }
}
