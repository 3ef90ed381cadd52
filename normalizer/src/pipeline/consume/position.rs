//! Where to start reading partitions, and up to where to commit them.

use std::time::Duration;

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::KafkaError,
};
use tokio::time::Instant;

use super::{
    Raw, ask,
    group::Named,
    known,
    owned::Owned,
    resume::{Begin, Fault, Mark, begin},
};
use crate::pipeline::{
    error::NormalizerError,
    open::Open,
    record::{Consumed, RawPartition},
};

impl Raw {
    /// Acknowledges a pending assignment, or checks the logs again if there is a doubt. If Kafka does not answer, the next call
    /// tries again. The future may be dropped at any time.
    pub(super) async fn settle(&mut self) -> Result<(), NormalizerError> {
        self.hear();
        let assigned = self.consumer.context().assigned();
        self.progress.pending(assigned.is_some());
        if let Some(suspects) = self.progress.take_doubt() {
            self.is_doubtful = true;
            self.suspects.extend(suspects);
        }
        if Instant::now() < self.retry_at || (assigned.is_none() && !self.is_doubtful) {
            return Ok(());
        }
        let done = match assigned {
            Some(assigned) => self.take(assigned).await,
            None => self.look_again().await,
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
    pub(super) fn hear(&mut self) {
        for (name, partition) in self.consumer.context().revoked() {
            let Some(topic) = self.names.raw_of(&name) else { continue };
            self.owned.remove(&(topic, partition));
            self.progress.lost((topic, partition));
        }
    }

    async fn take(&mut self, assigned: Vec<Named>) -> Result<(), NormalizerError> {
        let (consumer, marks, names) = (self.consumer(), self.marks.clone(), self.names.clone());
        let positions = move || known::positions(&consumer, &marks, &names, &assigned);
        let found = tokio::task::spawn_blocking(positions).await??;
        let mut list = TopicPartitionList::new();
        let (mut taken, mut faults) = (Vec::new(), Vec::new());
        for ((name, partition), known, log) in found {
            let Some(topic) = self.names.raw_of(&name) else { continue };
            let place = (topic, partition);
            let begun = begin(known, log, self.epoch);
            // A partition that cannot be started is acknowledged to the group nevertheless, and not read.
            let begin = begun.unwrap_or(Begin::at(log.end));
            list.add_partition_offset(&name, partition, Offset::Offset(begin.from))?;
            taken.push((place, begin));
            faults.extend(begun.err().map(|fault| (place, fault)));
        }
        self.consumer.context().take(&*self.consumer, &list)?;
        self.progress.pending(false);
        self.assignments += 1;
        for (place, begin) in taken {
            self.owned.insert(place, Owned::new(self.assignments, begin));
            // The append time of a record in an earlier incarnation of the topic means nothing in this one.
            self.progress.handled(place, begin.handled, begin.appended_ms.filter(|_| !begin.may_be_anew));
        }
        for (place, fault) in faults {
            self.fault(place, fault);
        }
        self.progress.owns(self.owned.len());
        // librdkafka keeps a partition paused beyond the assignment in which it was paused.
        self.pause(self.is_paused);
        Ok(())
    }

    /// Checks all partitions after an error that does not name one: a log may have lost records, or have been recreated.
    /// Partitions whose log is unchanged are read further.
    async fn look_again(&mut self) -> Result<(), NormalizerError> {
        let sound = self.owned.iter().filter(|(_, owned)| !owned.is_faulty);
        let sound = sound.map(|(place, owned)| {
            let done = self.suspects.get(place).copied().or(owned.done);
            (*place, (self.names.raw(place.0), place.1), done)
        });
        let (sound, consumer, marks) = (sound.collect::<Vec<_>>(), self.consumer(), self.marks.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let look = |(place, named, done)| Ok((place, known::look(&consumer, &marks, &named, done)?));
            sound.into_iter().map(look).collect::<Result<Vec<_>, KafkaError>>()
        });
        let looked = looked.await??;
        self.is_doubtful = false;
        for (place, (log, is_same)) in looked {
            let Some(next) = self.owned.get(&place).map(|owned| owned.next) else { continue };
            if !is_same || next > log.end {
                let next = self.suspects.get(&place).map_or(next, |(handled, _)| *handled);
                self.fault(place, Fault::Anew { next });
            } else if next < log.start {
                self.fault(place, Fault::Gone { next, start: log.start });
            } else {
                // librdkafka stops reading a partition after an offset error. Seeking makes it continue.
                self.consumer.seek(&self.names.raw(place.0), place.1, Offset::Offset(next), Duration::ZERO)?;
            }
        }
        self.suspects.clear();
        Ok(())
    }

    /// Handles a partition in which the record before the position is not the one that was mapped.
    pub(super) fn another(&mut self, place: RawPartition, begin: Begin) {
        let name = self.names.raw(place.0);
        if !begin.may_be_anew {
            return self.fault(place, Fault::Anew { next: begin.handled });
        }
        // The seek is asynchronous: its result shows in the next record.
        match self.consumer.seek(&name, place.1, Offset::Beginning, Duration::ZERO) {
            Ok(()) => {
                tracing::info!(
                    topic = name,
                    partition = place.1,
                    "the topic was recreated, as the higher epoch declares; reading it from the start"
                );
                if let Some(owned) = self.owned.get_mut(&place) {
                    *owned = Owned::new(owned.assignment, Begin::at(0));
                    owned.behind_anew = Some(begin.handled);
                    self.progress.handled(place, 0, None);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a recreated topic is not read before the next rebalance");
                self.fault(place, Fault::Anew { next: begin.handled });
            }
        }
    }

    /// Blocks a partition until the operator acts. All others continue.
    fn fault(&mut self, place: RawPartition, fault: Fault) {
        let name = self.names.raw(place.0);
        if let Some(owned) = self.owned.get_mut(&place) {
            owned.is_faulty = true;
        }
        if let Err(error) = self.consumer.pause(&self.list([place].into_iter())) {
            tracing::debug!(%error, "a blocked partition could not be paused");
        }
        self.progress.fault(place, fault.advice(&name, place.1, &self.group));
    }

    /// Whether all existing records of a partition have been read.
    pub(in crate::pipeline) async fn is_at_end(&self, place: RawPartition) -> Result<bool, NormalizerError> {
        let Some(owned) = self.owned.get(&place) else { return Ok(false) };
        let (consumer, named) = (self.consumer(), (self.names.raw(place.0), place.1));
        let log = tokio::task::spawn_blocking(move || ask::log(&consumer, &named)).await??;
        Ok(owned.next >= log.end)
    }

    /// Commits the position after the batch, whose events are all acknowledged, in each partition that this consumer still
    /// owns. A commit that fails is corrected by the next one. After a crash the records are mapped again, to the same ids.
    pub(in crate::pipeline) fn commit(&mut self, batch: &[Consumed], open: &mut Open) {
        self.hear();
        for record in batch {
            let place = (record.topic, record.message.partition());
            let behind = record.message.offset() + 1;
            let Some(owned) = self.owned.get_mut(&place).filter(|owned| owned.assignment == record.assignment) else {
                continue;
            };
            owned.followed = behind;
            if !record.is_handled {
                owned.done = Some((behind, record.message.timestamp().to_millis().unwrap_or(0)));
            }
        }
        open.keep_only(|place| self.owned.contains_key(&place));
        let mut positions = Vec::new();
        for (place, owned) in &mut self.owned {
            let Some((handled, appended_ms)) = owned.done else { continue };
            let floor = open.earliest(*place).unwrap_or(handled).min(handled).min(owned.followed);
            let position = (floor, Mark { epoch: self.epoch, handled, appended_ms });
            if owned.committed.replace(position) != Some(position) {
                self.progress.handled(*place, handled, Some(appended_ms));
                positions.push((*place, floor, position.1));
            }
        }
        if positions.is_empty() {
            return;
        }
        let list = positions.iter().fold(TopicPartitionList::new(), |mut list, ((topic, partition), floor, mark)| {
            mark.put(&mut list, &self.names.raw(*topic), *partition, *floor);
            list
        });
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::warn!(%error, "positions could not be committed");
        }
        self.marks.write(&self.names, positions.iter().map(|(place, _, mark)| (*place, *mark)));
    }

    /// Commits the copies of the marks again, because Kafka deletes them after some days.
    pub(super) fn remember(&self) {
        let known = self.owned.iter().filter_map(|(place, owned)| Some((*place, owned.committed?.1)));
        self.marks.write(&self.names, known);
    }

    /// Pauses all partitions, or resumes all that are not blocked.
    pub(super) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        let places = self.owned.iter().filter(|(_, owned)| is_paused || !owned.is_faulty).map(|(place, _)| *place);
        let list = self.list(places);
        let done = if is_paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = done {
            tracing::debug!(%error, is_paused, "partitions could not be paused or resumed; some may have been revoked");
        }
    }

    fn list(&self, places: impl Iterator<Item = RawPartition>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in places {
            list.add_partition(&self.names.raw(topic), partition);
        }
        list
    }
}
