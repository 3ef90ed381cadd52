//! Where to start reading partitions, and up to where to commit them.

use std::time::Duration;

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::KafkaError,
};
use tokio::time::Instant;

use super::{
    RawConsumer,
    group::TopicPartition,
    known,
    owned::Owned,
    query,
    resume::{Fault, Mark, StartPosition, start_position},
};
use crate::pipeline::{
    error::NormalizerError,
    open_uploads::OpenUploads,
    record::{Consumed, RawPartition},
};

impl RawConsumer {
    /// Acknowledges a pending assignment, or checks the logs again if a recheck is due. If Kafka does not answer, the next call
    /// tries again. The future may be dropped at any time.
    pub(super) async fn acknowledge_or_recheck(&mut self) -> Result<(), NormalizerError> {
        self.drop_revoked();
        let assigned = self.consumer.context().assigned();
        self.progress.report_pending_assignment(assigned.is_some());
        if let Some(suspects) = self.progress.take_recheck_request() {
            self.is_recheck_due = true;
            self.suspects.extend(suspects);
        }
        if Instant::now() < self.retry_at || (assigned.is_none() && !self.is_recheck_due) {
            return Ok(());
        }
        // In the second assignment of a process and later, so that it starts as usual.
        #[cfg(feature = "planted-bugs")]
        if assigned.is_some() && self.assignments > 0 && service::planted_bug::PlantedBug::LateAssignment.is_planted() {
            tokio::time::sleep(Duration::from_secs(300)).await;
        }
        let done = match assigned {
            Some(assigned) => self.acknowledge_assignment(assigned).await,
            None => self.recheck_logs().await,
        };
        match done {
            Ok(()) => self.backoff.reset(),
            Err(error) if error.is_outage() => {
                tracing::debug!(%error, "the start offsets are not known; trying again");
                self.retry_at = Instant::now() + self.backoff.next_wait();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Drops the state of revoked partitions.
    pub(super) fn drop_revoked(&mut self) {
        for (name, partition) in self.consumer.context().revoked() {
            let Some(topic) = self.names.raw_of(&name) else { continue };
            self.owned.remove(&(topic, partition));
            self.progress.report_revoked((topic, partition));
        }
    }

    async fn acknowledge_assignment(&mut self, assigned: Vec<TopicPartition>) -> Result<(), NormalizerError> {
        let (consumer, marks, names) = (self.consumer(), self.marks.clone(), self.names.clone());
        let positions = move || known::positions(&consumer, &marks, &names, &assigned);
        let found = tokio::task::spawn_blocking(positions).await??;
        let mut list = TopicPartitionList::new();
        let (mut acknowledged, mut faults) = (Vec::new(), Vec::new());
        for ((name, partition), known, log) in found {
            let Some(topic) = self.names.raw_of(&name) else { continue };
            let raw_partition = (topic, partition);
            let started = start_position(known, log, self.epoch);
            // A partition that cannot be started is acknowledged to the group nevertheless, and not read.
            let start = started.unwrap_or(StartPosition::at(log.end));
            list.add_partition_offset(&name, partition, Offset::Offset(start.fetch_from))?;
            acknowledged.push((raw_partition, start));
            faults.extend(started.err().map(|fault| (raw_partition, fault)));
        }
        self.consumer.context().acknowledge_assignment(&*self.consumer, &list)?;
        self.progress.report_pending_assignment(false);
        self.assignments += 1;
        for (raw_partition, start) in acknowledged {
            self.owned.insert(raw_partition, Owned::new(self.assignments, start));
            // The append time of a record in an earlier incarnation of the topic means nothing in this one.
            self.progress.report_handled(
                raw_partition,
                start.map_from,
                start.appended_ms.filter(|_| !start.may_be_recreated),
            );
        }
        for (raw_partition, fault) in faults {
            self.block(raw_partition, fault);
        }
        self.progress.report_owned(self.owned.len());
        // librdkafka keeps a partition paused beyond the assignment in which it was paused.
        self.pause(self.is_paused);
        Ok(())
    }

    /// Checks all partitions after an error that does not name one: a log may have lost records, or have been recreated.
    /// Partitions whose log is unchanged are read further.
    async fn recheck_logs(&mut self) -> Result<(), NormalizerError> {
        let unblocked = self.owned.iter().filter(|(_, owned)| !owned.is_blocked);
        let unblocked = unblocked.map(|(raw_partition, owned)| {
            let done = self.suspects.get(raw_partition).copied().or(owned.handled);
            (*raw_partition, (self.names.raw(raw_partition.0), raw_partition.1), done)
        });
        let (unblocked, consumer, marks) = (unblocked.collect::<Vec<_>>(), self.consumer(), self.marks.clone());
        let compared = tokio::task::spawn_blocking(move || {
            let compare = |(raw_partition, partition, done)| {
                Ok((raw_partition, known::compare_log(&consumer, &marks, &partition, done)?))
            };
            unblocked.into_iter().map(compare).collect::<Result<Vec<_>, KafkaError>>()
        });
        let compared = compared.await??;
        self.is_recheck_due = false;
        for (raw_partition, (log, is_same)) in compared {
            let Some(next) = self.owned.get(&raw_partition).map(|owned| owned.next) else { continue };
            if !is_same || next > log.end {
                let next = self.suspects.get(&raw_partition).map_or(next, |(handled, _)| *handled);
                self.block(raw_partition, Fault::Recreated { next });
            } else if next < log.start {
                self.block(raw_partition, Fault::RecordsDeleted { next, start: log.start });
            } else {
                // librdkafka stops reading a partition after an offset error. Seeking makes it continue.
                self.consumer.seek(
                    &self.names.raw(raw_partition.0),
                    raw_partition.1,
                    Offset::Offset(next),
                    Duration::ZERO,
                )?;
            }
        }
        self.suspects.clear();
        Ok(())
    }

    /// Handles a partition in which the record before the position is not the one that was mapped.
    pub(super) fn on_log_mismatch(&mut self, raw_partition: RawPartition, start: StartPosition) {
        let name = self.names.raw(raw_partition.0);
        if !start.may_be_recreated {
            return self.block(raw_partition, Fault::Recreated { next: start.map_from });
        }
        // The seek is asynchronous: its result shows in the next record.
        match self.consumer.seek(&name, raw_partition.1, Offset::Beginning, Duration::ZERO) {
            Ok(()) => {
                tracing::info!(
                    topic = name,
                    partition = raw_partition.1,
                    "the topic was recreated, as the higher epoch declares; reading it from the start"
                );
                if let Some(owned) = self.owned.get_mut(&raw_partition) {
                    *owned = Owned::new(owned.assignment, StartPosition::at(0));
                    owned.stale_from = Some(start.map_from);
                    self.progress.report_handled(raw_partition, 0, None);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a recreated topic is not read before the next rebalance");
                self.block(raw_partition, Fault::Recreated { next: start.map_from });
            }
        }
    }

    /// Blocks a partition until the operator acts. All others continue.
    fn block(&mut self, raw_partition: RawPartition, fault: Fault) {
        let name = self.names.raw(raw_partition.0);
        if let Some(owned) = self.owned.get_mut(&raw_partition) {
            owned.is_blocked = true;
        }
        if let Err(error) = self.consumer.pause(&self.list([raw_partition].into_iter())) {
            tracing::debug!(%error, "a blocked partition could not be paused");
        }
        self.progress.report_blocked(raw_partition, fault.advice(&name, raw_partition.1, &self.group));
    }

    /// Whether all existing records of a partition have been read.
    pub(in crate::pipeline) async fn is_at_end(&self, raw_partition: RawPartition) -> Result<bool, NormalizerError> {
        let Some(owned) = self.owned.get(&raw_partition) else { return Ok(false) };
        let (consumer, partition) = (self.consumer(), (self.names.raw(raw_partition.0), raw_partition.1));
        let log = tokio::task::spawn_blocking(move || query::log(&consumer, &partition)).await??;
        Ok(owned.next >= log.end)
    }

    /// Commits the position after the batch, whose events are all acknowledged, in each partition that this consumer still
    /// owns. A commit that fails is corrected by the next one. After a crash the records are mapped again, to the same ids.
    pub(in crate::pipeline) fn commit(&mut self, batch: &[Consumed], open_uploads: &mut OpenUploads) {
        self.drop_revoked();
        for record in batch {
            let raw_partition = (record.topic, record.message.partition());
            let next = record.message.offset() + 1;
            let Some(owned) = self.owned.get_mut(&raw_partition).filter(|owned| owned.assignment == record.assignment)
            else {
                continue;
            };
            owned.uploads_known_until = next;
            if !record.is_handled {
                owned.handled = Some((next, record.message.timestamp().to_millis().unwrap_or(0)));
            }
        }
        open_uploads.retain_partitions(|raw_partition| self.owned.contains_key(&raw_partition));
        let mut positions = Vec::new();
        for (raw_partition, owned) in &mut self.owned {
            let Some((handled, appended_ms)) = owned.handled else { continue };
            let commit_offset = open_uploads
                .earliest_offset(*raw_partition)
                .unwrap_or(handled)
                .min(handled)
                .min(owned.uploads_known_until);
            let position = (commit_offset, Mark { epoch: self.epoch, handled, appended_ms });
            if owned.committed.replace(position) != Some(position) {
                self.progress.report_handled(*raw_partition, handled, Some(appended_ms));
                positions.push((*raw_partition, commit_offset, position.1));
            }
        }
        if positions.is_empty() {
            return;
        }
        let list =
            positions.iter().fold(TopicPartitionList::new(), |mut list, ((topic, partition), commit_offset, mark)| {
                mark.add_to(&mut list, &self.names.raw(*topic), *partition, *commit_offset);
                list
            });
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::warn!(%error, "positions could not be committed");
        }
        self.marks.write(&self.names, positions.iter().map(|(raw_partition, _, mark)| (*raw_partition, *mark)));
    }

    /// Commits the copies of the marks again, because Kafka deletes them after some days.
    pub(super) fn recommit_marks(&self) {
        let known = self.owned.iter().filter_map(|(raw_partition, owned)| Some((*raw_partition, owned.committed?.1)));
        self.marks.write(&self.names, known);
    }

    /// Pauses all partitions, or resumes all that are not blocked.
    pub(super) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        let raw_partitions = self
            .owned
            .iter()
            .filter(|(_, owned)| is_paused || !owned.is_blocked)
            .map(|(raw_partition, _)| *raw_partition);
        let list = self.list(raw_partitions);
        let done = if is_paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = done {
            tracing::debug!(%error, is_paused, "partitions could not be paused or resumed; some may have been revoked");
        }
    }

    fn list(&self, raw_partitions: impl Iterator<Item = RawPartition>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in raw_partitions {
            list.add_partition(&self.names.raw(topic), partition);
        }
        list
    }
}
