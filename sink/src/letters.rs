//! Producing dead letters: when nothing but the commit of their batch is left to do, and each once over all tries to write it.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
};
use schemas::{dead_letter::DeadLetter, topic::Topics};
use service::kafka_error::{Verdict, verdict_on};

use crate::batch::{Body, Item, Place};

/// How long Kafka may take while a transaction is held open for it. What is not acknowledged by then is asked for at the next try.
const ANSWER_LONGEST: Duration = Duration::from_secs(5);

/// What became of the dead letters of a batch.
#[derive(Default)]
pub struct Letters(BTreeMap<(Place, i64), Delivery>);

enum Delivery {
    /// On its way.
    Sent(DeliveryFuture),
    /// The brokers have it.
    Acknowledged,
    /// The brokers never take its value: to be sent without, for the raw record has the bytes.
    TooLarge,
}

impl Letters {
    /// Produces the letters of the refused items, and waits until the brokers have all of them.
    pub(crate) async fn produce(
        &mut self,
        producer: &FutureProducer,
        topics: &Topics,
        items: &[Item],
    ) -> Result<(), KafkaError> {
        let topic = topics.dead_letters();
        for item in items {
            let Body::Refused(letter) = &item.body else { continue };
            let sent = match self.0.get(&key(item)) {
                Some(Delivery::Sent(_) | Delivery::Acknowledged) => continue,
                Some(Delivery::TooLarge) => send(producer, &topic, letter, &[]),
                None => match send(producer, &topic, letter, &letter.value) {
                    Err(error) if verdict_on(&error) == Verdict::Refuse => send(producer, &topic, letter, &[]),
                    sent => sent,
                },
            };
            self.0.insert(key(item), Delivery::Sent(sent?));
        }
        let all = self.acknowledged();
        tokio::time::timeout(ANSWER_LONGEST, all).await.unwrap_or(Err(KafkaError::Canceled))
    }

    async fn acknowledged(&mut self) -> Result<(), KafkaError> {
        let mut first = Ok(());
        let mut failed = Vec::new();
        for (key, delivery) in &mut self.0 {
            let Delivery::Sent(sent) = delivery else { continue };
            match sent.await {
                Ok(Ok(_)) => *delivery = Delivery::Acknowledged,
                Ok(Err((error, _))) => {
                    if verdict_on(&error) == Verdict::Refuse {
                        *delivery = Delivery::TooLarge;
                    } else {
                        failed.push(*key);
                    }
                    first = first.and(Err(error));
                }
                Err(_) => {
                    failed.push(*key);
                    first = first.and(Err(KafkaError::Canceled));
                }
            }
        }
        for key in failed {
            self.0.remove(&key);
        }
        first
    }
}

const fn key(item: &Item) -> (Place, i64) {
    (item.origin.place, item.origin.offset)
}

fn send(
    producer: &FutureProducer,
    topic: &str,
    letter: &DeadLetter,
    value: &[u8],
) -> Result<DeliveryFuture, KafkaError> {
    let pairs = letter.headers();
    let headers = pairs.iter().fold(OwnedHeaders::new_with_capacity(pairs.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_str()) })
    });
    let key = letter.key();
    let record = FutureRecord::to(topic).key(&key).payload(value).headers(headers);
    producer.send_result(record).map_err(|(error, _)| error)
}
