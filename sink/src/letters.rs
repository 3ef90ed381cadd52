//! Producing dead letters, before the transaction that steps over the bad message commits.

use std::time::Duration;

use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use schemas::{dead_letter::DeadLetter, topic::Topics};

/// Produces one letter and waits until the brokers have it.
pub(crate) async fn produce(producer: &FutureProducer, topics: &Topics, letter: &DeadLetter) -> Result<(), KafkaError> {
    let pairs = letter.headers();
    let headers = pairs.iter().fold(OwnedHeaders::new_with_capacity(pairs.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_str()) })
    });
    let topic = topics.dead_letters();
    let key = letter.key();
    let record = FutureRecord::to(&topic).key(&key).payload(&letter.value).headers(headers);
    producer.send(record, Duration::from_secs(30)).await.map(|_| ()).map_err(|(error, _)| error)
}
