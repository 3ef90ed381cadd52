//! Produces dead letters to Kafka: only when the commit of their batch is the last step left, and once over all attempts to
//! write it.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
};
use schemas::{dead_letter::DeadLetter, topic::Topics};
use service::kafka_error::{Reaction, reaction_to};
use uuid::Uuid;

use crate::item::{Body, Item, Partition};

/// How long to wait for Kafka while a transaction is open. The next attempt waits again for what is not acknowledged by then.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The dead letters that were produced for a batch.
#[derive(Default)]
pub struct ProducedDeadLetters {
    produced: Vec<Produced>,
    /// Messages whose dead letter the brokers refuse with its value. It is sent again without the value, which the raw record
    /// contains.
    too_large: BTreeSet<MessagePosition>,
}

/// The position of a refused message.
type MessagePosition = (Partition, i64);

/// A dead letter that was sent, and the messages that it covers. A later attempt may refuse more messages; they get another
/// dead letter.
struct Produced {
    covered: Vec<MessagePosition>,
    delivery: Delivery,
}

enum Delivery {
    /// Sent, but not acknowledged yet.
    Sent(DeliveryFuture),
    /// Acknowledged by the brokers.
    Acknowledged,
    /// Failed; to be sent again.
    Failed,
}

impl ProducedDeadLetters {
    /// Produces the dead letters of the refused items, and waits until the brokers have acknowledged all of them.
    pub(crate) async fn produce(
        &mut self,
        producer: &FutureProducer,
        topics: &Topics,
        items: &[Item],
    ) -> Result<(), KafkaError> {
        #[cfg(feature = "planted-bugs")]
        if service::planted_bug::PlantedBug::SwallowedBadRow.is_planted() {
            return Ok(());
        }
        let topic = topics.dead_letters();
        self.produced.retain(|produced| !matches!(produced.delivery, Delivery::Failed));
        let known: HashSet<MessagePosition> =
            self.produced.iter().flat_map(|produced| &produced.covered).copied().collect();
        let refused = items.iter().filter_map(refused).filter(|(position, _)| !known.contains(position)).collect();
        for (covered, letter) in runs(refused) {
            let sent = if covered.iter().any(|position| self.too_large.contains(position)) {
                send(producer, &topic, &letter, &[])
            } else {
                match send(producer, &topic, &letter, &letter.value) {
                    Err(error) if reaction_to(&error) == Reaction::Refuse => send(producer, &topic, &letter, &[]),
                    sent => sent,
                }
            };
            self.produced.push(Produced { covered, delivery: Delivery::Sent(sent?) });
        }
        let all = self.await_acknowledgements();
        tokio::time::timeout(ACKNOWLEDGEMENT_TIMEOUT, all).await.unwrap_or(Err(KafkaError::Canceled))
    }

    async fn await_acknowledgements(&mut self) -> Result<(), KafkaError> {
        let mut first = Ok(());
        for Produced { covered, delivery } in &mut self.produced {
            let Delivery::Sent(sent) = delivery else { continue };
            let error = match sent.await {
                Ok(Ok(_)) => {
                    *delivery = Delivery::Acknowledged;
                    continue;
                }
                Ok(Err((error, _))) => {
                    if reaction_to(&error) == Reaction::Refuse {
                        self.too_large.extend(covered.iter());
                    }
                    error
                }
                Err(_) => KafkaError::Canceled,
            };
            *delivery = Delivery::Failed;
            first = first.and(Err(error));
        }
        first
    }
}

type Refused<'i> = (MessagePosition, &'i DeadLetter);

fn refused(item: &Item) -> Option<Refused<'_>> {
    match &item.body {
        Body::Refused(letter) => Some(((item.origin.partition, item.origin.offset), letter)),
        Body::Reading(_) | Body::Assignment(_) | Body::Document(_) | Body::Outcome(_) | Body::DeadLetter(_) => None,
    }
}

/// Returns one dead letter for each run of items, with the messages that it covers.
fn runs(mut refused: Vec<Refused<'_>>) -> Vec<(Vec<MessagePosition>, Cow<'_, DeadLetter>)> {
    refused.sort_by(|(_, left), (_, right)| (shared_fields(left), left.item).cmp(&(shared_fields(right), right.item)));
    let runs = refused.chunk_by(|(_, letter), (_, next)| is_continued(letter, next));
    runs.filter_map(|run| Some((run.iter().map(|(position, _)| *position).collect(), combined_letter(run)?))).collect()
}

/// The fields that items must have in common to share a dead letter: raw position, replay, reason, detail and device.
fn shared_fields(letter: &DeadLetter) -> (Option<&str>, Option<i32>, &str, &str, Option<Uuid>) {
    (letter.raw_position.as_deref(), letter.replay, letter.reason.as_str(), &letter.detail, letter.device)
}

/// Whether both are about the same item or about consecutive ones, and can share a dead letter.
fn is_continued(letter: &DeadLetter, next: &DeadLetter) -> bool {
    let (Some(item), Some(after)) = (letter.item, next.item) else { return false };
    shared_fields(letter) == shared_fields(next) && (after == item || item.checked_add(1) == Some(after))
}

/// The dead letter of a run of items, at the position of the first. If there are several, it has no value: the raw record
/// contains it.
fn combined_letter<'i>(run: &[Refused<'i>]) -> Option<Cow<'i, DeadLetter>> {
    let ((_, first), (_, last)) = (run.first()?, run.last()?);
    let item_count = last.item.zip(first.item).map_or(1, |(last, first)| last - first + 1);
    Some(if item_count == 1 {
        Cow::Borrowed(*first)
    } else {
        Cow::Owned(DeadLetter { item_count, value: Vec::new(), ..(*first).clone() })
    })
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

#[cfg(test)]
mod tests {
    use schemas::{
        dead_letter::{AboutPayload, Stage},
        rejection::Reason,
    };

    use super::*;
    use crate::item::EventTopic;

    fn letter(item: Option<i32>) -> DeadLetter {
        DeadLetter {
            origin_topic: "readings".to_owned(),
            origin_partition: 0,
            origin_offset: 7,
            origin_timestamp: 0,
            item,
            item_count: 1,
            device: None,
            stage: Stage::Sink,
            reason: Reason::RowRefused,
            detail: "a".to_owned(),
            content_hmac: None,
            raw_position: Some("raw.healthkit:0:0:1".to_owned()),
            about: AboutPayload::default(),
            attempt: 1,
            replay: None,
            value: vec![1],
        }
    }

    /// For each dead letter: the first item, the number of items, whether it has a value, and the number of messages; sorted by
    /// first item.
    fn found(letters: &[DeadLetter]) -> Vec<(Option<i32>, i32, bool, usize)> {
        let refused = (0..)
            .zip(letters)
            .map(|(offset, letter)| ((Partition { topic: EventTopic::Readings, number: 0 }, offset), letter))
            .collect();
        let runs = runs(refused).into_iter();
        let mut found: Vec<_> = runs
            .map(|(covered, letter)| (letter.item, letter.item_count, !letter.value.is_empty(), covered.len()))
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn consecutive_equal_items_are_one_dead_letter() {
        let of = |items: &[i32]| items.iter().map(|item| letter(Some(*item))).collect::<Vec<_>>();
        assert_eq!(found(&of(&[5, 3, 4, 7])), [(Some(3), 3, false, 3), (Some(7), 1, true, 1)]);
        // The normalizer was killed and produced the same items again.
        assert_eq!(found(&of(&[1, 2, 3, 1, 2, 3])), [(Some(1), 3, false, 6)]);
        assert_eq!(found(&of(&[1, 1])), [(Some(1), 1, true, 2)]);
        assert_eq!(found(&of(&[i32::MAX, 0])), [(Some(0), 1, true, 1), (Some(i32::MAX), 1, true, 1)]);
        assert_eq!(found(&[letter(None), letter(None)]), [(None, 1, true, 1), (None, 1, true, 1)]);
    }

    #[test]
    fn consecutive_items_that_differ_are_separate_dead_letters() {
        let raw_position = Some("raw.healthkit:0:0:2".to_owned());
        for other in [
            DeadLetter { raw_position, ..letter(None) },
            DeadLetter { reason: Reason::Skipped, ..letter(None) },
            DeadLetter { detail: "b".to_owned(), ..letter(None) },
            DeadLetter { device: Some(Uuid::from_u128(1)), ..letter(None) },
            DeadLetter { replay: Some(1), ..letter(None) },
        ] {
            let at = |item: i32, letter: &DeadLetter| DeadLetter { item: Some(item), ..letter.clone() };
            let alone = [(Some(0), 1, true, 1), (Some(1), 1, true, 1)];
            assert_eq!(found(&[at(0, &letter(None)), at(1, &other)]), alone);
            assert_eq!(found(&[at(0, &other), at(1, &letter(None))]), alone);
        }
    }
}
