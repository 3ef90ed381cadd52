//! Observes Kafka from outside the loop, because the loop itself may be stuck.

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::{
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    metadata::MetadataTopic,
};
use schemas::{format::RawTopic, topic::Topics};
use service::group::is_member;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    consume::{
        group::{GroupContext, TopicPartition},
        query::{self, QUERY_TIMEOUT},
    },
    judge::{Assessment, Judge, OBSERVE_EVERY, Observation},
    progress::{Progress, SubscriptionState, Suspects},
    record::RawPartition,
};

/// Observes Kafka every [`OBSERVE_EVERY`] until the handle is dropped.
pub(super) fn watch(
    progress: &Arc<Progress>,
    consumer: Arc<StreamConsumer<GroupContext>>,
    names: Topics,
    topics: &'static [RawTopic],
) -> AbortOnDropHandle<()> {
    let progress = Arc::clone(progress);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut judge = Judge::default();
        loop {
            sleep(OBSERVE_EVERY).await;
            let started = Instant::now();
            let observer =
                Observer { progress: Arc::clone(&progress), consumer: Arc::clone(&consumer), names: names.clone() };
            let assessment = match tokio::task::spawn_blocking(move || observer.observe(topics)).await {
                Ok(Ok(observation)) => judge.assess(Instant::now(), observation),
                Ok(Err(_)) => match judge.assess_failure(started.elapsed()) {
                    Some(assessment) => assessment,
                    None => continue,
                },
                Err(_) => Assessment::waiting("the check of Kafka ended abnormally".to_owned()),
            };
            if let Some(suspects) = assessment.recheck {
                progress.request_recheck(suspects);
            }
            progress.report_observation(assessment.wait, assessment.partial_faults);
        }
    }))
}

struct Observer {
    progress: Arc<Progress>,
    consumer: Arc<StreamConsumer<GroupContext>>,
    names: Topics,
}

impl Observer {
    /// Queries Kafka. Blocks.
    fn observe(&self, topics: &[RawTopic]) -> Result<Observation, KafkaError> {
        let SubscriptionState { handled, handled_before, faults, pending_since, .. } = self.progress.state().clone();
        let acknowledgements = self.progress.acknowledgements();
        let (existing, missing) = self.partitions(topics)?;
        let named = |(topic, partition): RawPartition| (self.names.raw(topic), partition);
        let (mut owns, mut next_offsets) = (0, BTreeMap::new());
        if handled.is_empty() && !existing.is_empty() {
            // There may be more members than partitions. A member without partitions checks whether others map the group's
            // partitions.
            next_offsets.extend(existing.iter().map(|named| (named.clone(), 0)));
            next_offsets.extend(query::group_positions(&self.consumer, &existing)?);
        }
        let mut next_handled_before = Suspects::new();
        for (raw_partition, (next, appended_ms)) in
            handled.into_iter().filter(|(raw_partition, _)| existing.contains(&named(*raw_partition)))
        {
            owns += 1;
            if !faults.contains_key(&(raw_partition.0.as_str(), raw_partition.1)) {
                next_offsets.insert(named(raw_partition), next);
                next_handled_before.extend(appended_ms.map(|appended_ms| (raw_partition, (next, appended_ms))));
            }
        }
        let ends = query::ends(&self.consumer, &next_offsets.keys().cloned().collect::<Vec<_>>())?;
        let suspects = self.suspects(&existing, &handled_before)?;
        self.progress.state().handled_before = next_handled_before;
        let fault = if next_offsets.is_empty() { faults.into_values().next() } else { None };
        let log = |(named, end): (TopicPartition, i64)| next_offsets.remove(&named).map(|next| (named, (next, end)));
        Ok(Observation {
            pending_since,
            is_member: is_member(self.consumer.client()),
            owns,
            acknowledgements,
            fault,
            logs: ends.into_iter().filter_map(log).collect(),
            missing,
            suspects,
        })
    }

    /// Finds logs that may have been recreated. A log that was recreated under a running client may be longer than the old one:
    /// then the client continues at the same offset and reports no error. The records that were appended after the last handled
    /// one then begin before the offset of that record.
    fn suspects(&self, existing: &[TopicPartition], handled: &Suspects) -> Result<Suspects, KafkaError> {
        let named = |(topic, partition): RawPartition| (self.names.raw(topic), partition);
        let handled_by_name: BTreeMap<TopicPartition, (RawPartition, i64, i64)> = handled
            .iter()
            .map(|(raw_partition, (handled, appended_ms))| {
                (named(*raw_partition), (*raw_partition, *handled, *appended_ms))
            })
            .filter(|(named, _)| existing.contains(named))
            .collect();
        let times = handled_by_name
            .iter()
            .map(|(named, (.., appended_ms))| (named.clone(), appended_ms + 1))
            .collect::<Vec<_>>();
        let found = query::appended_from(&self.consumer, &times)?;
        let earlier = |(named, from): (TopicPartition, i64)| {
            let (raw_partition, handled, appended_ms) = handled_by_name.get(&named)?;
            (from < *handled).then_some((*raw_partition, (*handled, *appended_ms)))
        };
        Ok(found.into_iter().filter_map(earlier).collect())
    }

    /// Returns the partitions that exist, and a topic that does not exist.
    fn partitions(&self, topics: &[RawTopic]) -> Result<(Vec<TopicPartition>, Option<String>), KafkaError> {
        let (mut existing, mut missing) = (Vec::new(), None);
        for topic in topics {
            let name = self.names.raw(*topic);
            let metadata = self.consumer.fetch_metadata(Some(&name), QUERY_TIMEOUT)?;
            let before = existing.len();
            let found = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            existing.extend(found.map(|partition| (name.clone(), partition.id())));
            if existing.len() == before {
                missing = Some(name);
            }
        }
        Ok((existing, missing))
    }
}
