//! What the reader does besides reading: it answers the group, handles reports of the writer and answers of lookups, begins
//! partitions, and reports its health.

use std::{
    collections::HashSet,
    sync::{PoisonError, atomic::Ordering, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use rdkafka::{TopicPartitionList, consumer::Consumer};
use schemas::codec::Fingerprint;
use service::{
    backoff::Backoff,
    kafka::{GroupProtocol, because},
    topics::not_there,
};
use tokio::runtime::Handle;

use super::{
    Reader, Setup,
    group::{self, GroupEvent},
    lookups::{Answer, Looked, Placed, Probe},
    watch::Facts,
};
use crate::{SinkError, item::Partition, verdict::Verdict, write, writer::WriterEvent};
use store::error_class::{ErrorClass, cause, error_class, name};

/// How long one attempt to reach Postgres or Kafka may take when the sink starts.
const PROBE_LONGEST: Duration = Duration::from_secs(5);
/// How long a revocation waits for the writer to finish the batches that it has.
const REVOKE_LONGEST: Duration = Duration::from_secs(3);
const HEAR_FOR: Duration = Duration::from_millis(50);
/// How often the sink looks up what blocked partitions wait for.
const OPERATOR_EVERY: Duration = Duration::from_secs(1);
/// How often the sink probes whether Kafka answers.
const PROBE_EVERY: Duration = Duration::from_secs(2);

impl Setup {
    /// Waits until Postgres is reachable and this release can write its tables. A sink that cannot write must not hold partitions
    /// that other sinks could write.
    ///
    /// # Errors
    /// [`SinkError::Defect`]: this sink does not understand the answer of Postgres.
    pub(super) fn wait_for_postgres(&self, runtime: &Handle) -> Result<(), SinkError> {
        let mut backoff = Backoff::default();
        let answered = async {
            loop {
                let asked = tokio::time::timeout(PROBE_LONGEST, write::takes(&self.config.database_url)).await;
                let reason = match asked {
                    Ok(Ok(Ok(()))) => return Ok(()),
                    Ok(Ok(Err(mismatch))) => mismatch.to_string(),
                    Ok(Err(error)) if error_class(&error) == ErrorClass::Defect => {
                        return Err(SinkError::Defect(name(&error)));
                    }
                    Ok(Err(error)) => cause(&error),
                    Err(_elapsed) => "Postgres has not answered for some seconds".to_owned(),
                };
                self.health.say(Verdict::Waits(reason));
                tokio::time::sleep(backoff.next_wait()).await;
            }
        };
        runtime.block_on(self.shutdown.run_until_cancelled(answered)).unwrap_or(Ok(()))
    }

    /// Returns the protocol of the group. Waits until Kafka answers. A sink that is asked to stop before gets any protocol.
    pub(super) fn group_protocol(&self, runtime: &Handle) -> GroupProtocol {
        let mut backoff = Backoff::default();
        let answered = async {
            loop {
                let kafka = self.config.kafka.clone();
                let asked = runtime.spawn_blocking(move || kafka.group_protocol(PROBE_LONGEST));
                if let Ok(Ok(protocol)) = asked.await {
                    return protocol;
                }
                self.health.say(Verdict::Waits(because("Kafka does not answer")));
                tokio::time::sleep(backoff.next_wait()).await;
            }
        };
        runtime.block_on(self.shutdown.run_until_cancelled(answered)).unwrap_or(GroupProtocol::Classic)
    }
}

impl Reader {
    pub(super) fn handle_events(&mut self) {
        self.rebootstrap.check(self.consumer.client());
        self.answer_group();
        while let Ok(event) = self.setup.events.try_recv() {
            self.hear(event);
        }
        if self.setup.generation.load(Ordering::SeqCst) != self.generation {
            self.begin_anew();
        }
        while let Some(answer) = self.lookups.answer() {
            match answer {
                Answer::Placed(placed) => self.begin(placed),
                Answer::Looked(looked) => self.release(looked),
                Answer::Probed(Ok(Probe::Missing(topic))) => {
                    self.watch.kafka_failed(not_there(&topic));
                    self.lookups.probed(PROBE_EVERY);
                }
                Answer::Probed(Ok(Probe::Ends(ends))) => {
                    self.watch.kafka_answers(self.owned.lags(&ends));
                    self.lookups.probed(PROBE_EVERY);
                }
                Answer::Probed(Err(_)) => {
                    self.watch.probe_failed(|| because("Kafka does not answer"));
                    self.lookups.probed(Duration::ZERO);
                }
            }
        }
        self.ask();
        let topics = &self.setup.config.topics;
        let facts = Facts { consumer: &self.consumer, topics, owned: &self.owned, in_flight: &self.in_flight };
        self.watch.report(facts, &self.setup.health);
    }

    /// Starts the lookups that are due. A partition of a batch that the writer has is looked up later: its offset in Postgres is
    /// about to change.
    fn ask(&mut self) {
        let places: Vec<Partition> = self.owned.unplaced().filter(|place| !self.in_flight.holds(*place)).collect();
        if self.lookups.ask_places(&places) {
            self.owned.ask();
        }
        self.lookups.ask_blocked(self.owned.blocked().collect());
        let owned = &self.owned;
        self.lookups.ask_kafka(|| owned.iter().map(|(place, _)| place).collect());
    }

    pub(super) fn answer_group(&mut self) {
        while let Some(event) = self.consumer.context().next() {
            match event {
                GroupEvent::Given(partitions) => {
                    self.watch.group_gave();
                    for (topic, partition) in partitions {
                        if let Some(source) = self.sources.get(&topic) {
                            self.owned.give((*source, partition));
                        }
                    }
                    self.lookups.hurry();
                }
                GroupEvent::Revoked(list) => self.give_back(&list),
            }
        }
    }

    /// Gives partitions back to the group. The writer may finish its batches with these partitions first. Otherwise the offsets
    /// would move under the next owner, and also under this sink, for the partitions that it keeps.
    fn give_back(&mut self, list: &TopicPartitionList) {
        let place = |(topic, partition): (&str, i32)| self.sources.get(topic).map(|source| (*source, partition));
        let places: Vec<Partition> =
            list.elements().iter().filter_map(|one| place((one.topic(), one.partition()))).collect();
        for place in &places {
            self.pending.drop_of(*place);
        }
        let deadline = Instant::now() + REVOKE_LONGEST;
        while places.iter().any(|place| self.in_flight.holds(*place))
            && !self.consumer.assignment_lost()
            && !self.watch.is_writer_waiting()
            && Instant::now() < deadline
            && self.hear_for_a_moment()
        {}
        for place in &places {
            self.owned.take(*place);
            self.to_commit.remove(place);
        }
        self.remove(&places);
    }

    /// Waits a moment for a report of the writer, and handles it. Returns false if the writer has ended.
    pub(super) fn hear_for_a_moment(&mut self) -> bool {
        match self.setup.events.recv_timeout(HEAR_FOR) {
            Ok(event) => self.hear(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn hear(&mut self, event: WriterEvent) {
        match event {
            WriterEvent::Written(batch) => {
                self.in_flight.pop();
                self.watch.written(batch.fence.iter().any(|one| one.next != one.expected));
                let kept = batch.fence.iter().filter(|one| self.owned.holds(one.place));
                self.to_commit.extend(kept.map(|one| (one.place, one.next)));
            }
            WriterEvent::Dropped => self.in_flight.pop(),
            WriterEvent::Waiting(reason) => self.watch.writer_waits(reason),
        }
    }

    /// Discards what was read and begins all partitions again: the offsets in Postgres have changed, or Kafka does not have the
    /// next records.
    fn begin_anew(&mut self) {
        self.generation = self.setup.generation.load(Ordering::SeqCst);
        self.pending.take();
        self.to_commit.clear();
        self.owned.restart();
        let all: Vec<Partition> = self.owned.iter().map(|(place, _)| place).collect();
        self.remove(&all);
        self.lookups.hurry();
    }

    /// Begins the partitions that were looked up and still belong to this sink.
    fn begin(&mut self, placed: Result<Placed, String>) {
        let begun = placed.and_then(|placed| {
            self.owned.know_skips(placed.skips);
            let begins: Vec<_> = placed.begin.into_iter().filter(|(place, _)| self.owned.is_asked(*place)).collect();
            let add = begins.iter().filter_map(|(place, begin)| Some((*place, *begin.as_ref().ok()?)));
            self.list(add)
                .and_then(|list| group::add(&self.consumer, &list).map(|()| list))
                .map(|list| self.pause_as_others(&list))
                .map_err(|error| format!("the partitions could not be assigned: {error}"))?;
            for (place, begin) in begins {
                self.owned.place(place, begin);
            }
            Ok(())
        });
        // Partitions that the answer does not contain are looked up again.
        self.owned.ask_again();
        match begun {
            Ok(()) => {
                self.place_backoff.reset();
                self.watch.placed();
                self.lookups.placed(if self.owned.is_adrift() { OPERATOR_EVERY } else { HEAR_FOR });
            }
            Err(reason) => {
                self.watch.place_waits(reason);
                self.lookups.placed(self.place_backoff.next_wait());
            }
        }
    }

    /// Tries blocked partitions again if their schema is known by now, or if an operator has asked to skip their record.
    fn release(&mut self, looked: Result<Looked, String>) {
        self.lookups.looked(OPERATOR_EVERY);
        let Ok(looked) = looked else { return };
        let known = self.learn(looked.schemas);
        let blocked: Vec<_> = self.owned.blocked().collect();
        for (place, offset, fingerprint) in blocked {
            let goes_on = looked.skips.contains_key(&(place, offset))
                || fingerprint.is_some_and(|fingerprint| known.contains(&fingerprint));
            if goes_on && !self.in_flight.holds(place) {
                self.owned.release(place);
                self.lookups.hurry();
            }
        }
    }

    /// Adds published schemas. Returns those that can be used.
    fn learn(&mut self, schemas: Vec<(Fingerprint, String)>) -> HashSet<Fingerprint> {
        let mut decoder = self.setup.decoder.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = HashSet::new();
        for (fingerprint, text) in schemas {
            if decoder.schemas.knows(fingerprint) || decoder.schemas.add(fingerprint, &text).is_ok() {
                known.insert(fingerprint);
            } else if self.unusable.insert(fingerprint) {
                tracing::warn!(%fingerprint, "a published schema cannot be used");
            }
        }
        known
    }
}
