//! Observes Kafka from outside the loop, because the loop itself may be stuck.

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::{
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    metadata::MetadataTopic,
};
use schemas::{format::RawTopic, topic::Topics};
use service::{group::is_member, kafka::because};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    consume::{
        ask::{self, ANSWER_LONGEST},
        group::{Group, Named},
    },
    judge::{EVERY, Judge, Seen, Verdict},
    progress::{Progress, Standing, Suspects},
    record::RawPartition,
};

/// Looks at Kafka every [`EVERY`] until the handle is dropped.
pub(super) fn watch(
    progress: &Arc<Progress>,
    consumer: Arc<StreamConsumer<Group>>,
    names: Topics,
    topics: &'static [RawTopic],
) -> AbortOnDropHandle<()> {
    let progress = Arc::clone(progress);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut judge = Judge::default();
        let mut unanswered = 0;
        loop {
            sleep(EVERY).await;
            let asked = Instant::now();
            let look = Look { progress: Arc::clone(&progress), consumer: Arc::clone(&consumer), names: names.clone() };
            let verdict = match tokio::task::spawn_blocking(move || look.at(topics)).await {
                Ok(Ok(seen)) => {
                    unanswered = 0;
                    judge.judge(Instant::now(), seen)
                }
                // A single look that fails quickly may have used a connection that a broker had just closed.
                Ok(Err(_)) if unanswered == 0 && asked.elapsed() < EVERY => {
                    unanswered += 1;
                    continue;
                }
                Ok(Err(_)) => Verdict::waits(because("Kafka does not answer")),
                Err(_) => Verdict::waits("the check of Kafka ended abnormally".to_owned()),
            };
            if let Some(suspects) = verdict.doubt {
                progress.doubt(suspects);
            }
            progress.seen(verdict.waits, verdict.partly);
        }
    }))
}

struct Look {
    progress: Arc<Progress>,
    consumer: Arc<StreamConsumer<Group>>,
    names: Topics,
}

impl Look {
    /// Queries Kafka. Blocks.
    fn at(&self, topics: &[RawTopic]) -> Result<Seen, KafkaError> {
        let Standing { handled, since_look, faults, pending_since, .. } = self.progress.standing().clone();
        let moved = self.progress.moves();
        let (there, missing) = self.partitions(topics)?;
        let named = |(topic, partition): RawPartition| (self.names.raw(topic), partition);
        let (mut owns, mut nexts) = (0, BTreeMap::new());
        if handled.is_empty() && !there.is_empty() {
            // There may be more members than partitions. A member without partitions checks whether others map the group's
            // partitions.
            nexts.extend(there.iter().map(|named| (named.clone(), 0)));
            nexts.extend(ask::group_positions(&self.consumer, &there)?);
        }
        let mut marks = Suspects::new();
        for (place, (next, appended_ms)) in handled.into_iter().filter(|(place, _)| there.contains(&named(*place))) {
            owns += 1;
            if !faults.contains_key(&(place.0.as_str(), place.1)) {
                nexts.insert(named(place), next);
                marks.extend(appended_ms.map(|appended_ms| (place, (next, appended_ms))));
            }
        }
        let ends = ask::ends(&self.consumer, &nexts.keys().cloned().collect::<Vec<_>>())?;
        let suspects = self.suspects(&there, &since_look)?;
        self.progress.standing().since_look = marks;
        let fault = if nexts.is_empty() { faults.into_values().next() } else { None };
        let log = |(named, end): (Named, i64)| nexts.remove(&named).map(|next| (named, (next, end)));
        Ok(Seen {
            pending_since,
            is_member: is_member(self.consumer.client()),
            owns,
            moved,
            fault,
            logs: ends.into_iter().filter_map(log).collect(),
            missing,
            suspects,
        })
    }

    /// Finds logs that may have been recreated. A log that was recreated under a running client may be longer than the old one:
    /// then the client continues at the same offset and reports no error. The records that were appended after the last handled
    /// one then begin before the offset of that record.
    fn suspects(&self, there: &[Named], handled: &Suspects) -> Result<Suspects, KafkaError> {
        let named = |(topic, partition): RawPartition| (self.names.raw(topic), partition);
        let asked: BTreeMap<Named, (RawPartition, i64, i64)> = handled
            .iter()
            .map(|(place, (handled, appended_ms))| (named(*place), (*place, *handled, *appended_ms)))
            .filter(|(named, _)| there.contains(named))
            .collect();
        let times = asked.iter().map(|(named, (.., appended_ms))| (named.clone(), appended_ms + 1)).collect::<Vec<_>>();
        let found = ask::appended_from(&self.consumer, &times)?;
        let earlier = |(named, from): (Named, i64)| {
            let (place, handled, appended_ms) = asked.get(&named)?;
            (from < *handled).then_some((*place, (*handled, *appended_ms)))
        };
        Ok(found.into_iter().filter_map(earlier).collect())
    }

    /// Returns the partitions that exist, and a topic that does not exist.
    fn partitions(&self, topics: &[RawTopic]) -> Result<(Vec<Named>, Option<String>), KafkaError> {
        let (mut there, mut missing) = (Vec::new(), None);
        for topic in topics {
            let name = self.names.raw(*topic);
            let metadata = self.consumer.fetch_metadata(Some(&name), ANSWER_LONGEST)?;
            let before = there.len();
            let found = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            there.extend(found.map(|partition| (name.clone(), partition.id())));
            if there.len() == before {
                missing = Some(name);
            }
        }
        Ok((there, missing))
    }
}
