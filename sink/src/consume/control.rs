//! What the reader does besides reading: it handles rebalances, reports of the writer and answers of lookups, begins partitions,
//! and reports its health.

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
    group::{self, Rebalance},
    lookups::{Answer, BeginOffsets, Probe, SkipsAndSchemas},
    watch::Facts,
};
use crate::{SinkError, item::Partition, lane_state::LaneState, write, writer::WriterReport};
use store::error_class::{ErrorClass, cause, error_class, name};

/// How long one attempt to reach Postgres or Kafka may take when the sink starts.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a revocation waits for the writer to finish the batches that it has.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait for one report of the writer.
const REPORT_TIMEOUT: Duration = Duration::from_millis(50);
/// How long to wait between two lookups of begin offsets.
const LOOKUP_PAUSE: Duration = Duration::from_millis(50);
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
                let checked = tokio::time::timeout(PROBE_TIMEOUT, write::check_tables(&self.config.database_url)).await;
                let reason = match checked {
                    Ok(Ok(Ok(()))) => return Ok(()),
                    Ok(Ok(Err(mismatch))) => mismatch.to_string(),
                    Ok(Err(error)) if error_class(&error) == ErrorClass::Defect => {
                        return Err(SinkError::Defect(name(&error)));
                    }
                    Ok(Err(error)) => cause(&error),
                    Err(_elapsed) => "Postgres has not answered for some seconds".to_owned(),
                };
                self.health.report(LaneState::Waiting(reason));
                tokio::time::sleep(backoff.next_wait()).await;
            }
        };
        runtime.block_on(self.shutdown.run_until_cancelled(answered)).unwrap_or(Ok(()))
    }

    /// Returns the protocol of the group. Waits until Kafka answers. If the sink is asked to stop before that, the returned
    /// protocol has no meaning.
    pub(super) fn group_protocol(&self, runtime: &Handle) -> GroupProtocol {
        let mut backoff = Backoff::default();
        let answered = async {
            loop {
                let kafka = self.config.kafka.clone();
                let protocol = runtime.spawn_blocking(move || kafka.group_protocol(PROBE_TIMEOUT));
                if let Ok(Ok(protocol)) = protocol.await {
                    return protocol;
                }
                self.health.report(LaneState::Waiting(because("Kafka does not answer")));
                tokio::time::sleep(backoff.next_wait()).await;
            }
        };
        runtime.block_on(self.shutdown.run_until_cancelled(answered)).unwrap_or(GroupProtocol::Classic)
    }
}

impl Reader {
    pub(super) fn handle_control(&mut self) {
        self.rebootstrap.check(self.consumer.client());
        self.handle_rebalances();
        while let Ok(report) = self.setup.writer_reports.try_recv() {
            self.on_writer_report(report);
        }
        if self.setup.generation.load(Ordering::SeqCst) != self.generation {
            self.restart_partitions();
        }
        while let Some(answer) = self.lookups.next_answer() {
            match answer {
                Answer::BeginOffsets(found) => self.begin_partitions(found),
                Answer::SkipsAndSchemas(found) => self.unblock_partitions(found),
                Answer::Probe(Ok(Probe::MissingTopic(topic))) => {
                    self.watch.kafka_failed(not_there(&topic));
                    self.lookups.schedule_probe(PROBE_EVERY);
                }
                Answer::Probe(Ok(Probe::EndOffsets(ends))) => {
                    self.watch.kafka_answered(self.assigned.has_lag(&ends));
                    self.lookups.schedule_probe(PROBE_EVERY);
                }
                Answer::Probe(Err(_)) => {
                    self.watch.probe_failed(|| because("Kafka does not answer"));
                    self.lookups.schedule_probe(Duration::ZERO);
                }
            }
        }
        self.start_lookups();
        let topics = &self.setup.config.topics;
        let facts = Facts { consumer: &self.consumer, topics, assigned: &self.assigned, in_flight: &self.in_flight };
        self.watch.report(facts, &self.setup.health);
    }

    /// Starts the lookups that are due. A partition of a batch that the writer has is looked up later: its offset in Postgres is
    /// about to change.
    fn start_lookups(&mut self) {
        let partitions: Vec<Partition> =
            self.assigned.awaiting_offset().filter(|partition| !self.in_flight.contains(*partition)).collect();
        if self.lookups.request_begin_offsets(&partitions) {
            self.assigned.mark_requested();
        }
        self.lookups.request_skips_and_schemas(self.assigned.blocked().collect());
        let assigned = &self.assigned;
        self.lookups.request_probe(|| assigned.iter().map(|(partition, _)| partition).collect());
    }

    pub(super) fn handle_rebalances(&mut self) {
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            match rebalance {
                Rebalance::Assigned(partitions) => {
                    self.watch.assignment_received();
                    for (name, number) in partitions {
                        if let Some(topic) = self.topics.get(&name) {
                            self.assigned.assign(Partition { topic: *topic, number });
                        }
                    }
                    self.lookups.expedite_begin_offsets();
                }
                Rebalance::Revoked(list) => self.revoke(&list),
            }
        }
    }

    /// Returns partitions to the group. Before that, waits up to [`REVOKE_TIMEOUT`] for the writer to finish its batches with
    /// these partitions. Otherwise the next owner, or this sink for the partitions that it keeps, would find that the offsets in
    /// Postgres have changed, and would read events again.
    fn revoke(&mut self, list: &TopicPartitionList) {
        let partition = |name: &str, number| self.topics.get(name).map(|topic| Partition { topic: *topic, number });
        let partitions: Vec<Partition> =
            list.elements().iter().filter_map(|entry| partition(entry.topic(), entry.partition())).collect();
        for partition in &partitions {
            self.pending.drop_partition(*partition);
        }
        let deadline = Instant::now() + REVOKE_TIMEOUT;
        while partitions.iter().any(|partition| self.in_flight.contains(*partition))
            && !self.consumer.assignment_lost()
            && !self.watch.is_writer_waiting()
            && Instant::now() < deadline
            && self.wait_for_writer_report()
        {}
        for partition in &partitions {
            self.assigned.revoke(*partition);
            self.to_commit.remove(partition);
        }
        self.unassign(&partitions);
    }

    /// Waits a moment for a report of the writer, and handles it. Returns false if the writer has ended.
    pub(super) fn wait_for_writer_report(&mut self) -> bool {
        match self.setup.writer_reports.recv_timeout(REPORT_TIMEOUT) {
            Ok(report) => self.on_writer_report(report),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn on_writer_report(&mut self, report: WriterReport) {
        match report {
            WriterReport::Written(batch) => {
                self.in_flight.pop();
                self.watch.written(batch.fence.iter().any(|fence| fence.next != fence.expected));
                let kept = batch.fence.iter().filter(|fence| self.assigned.contains(fence.partition));
                self.to_commit.extend(kept.map(|fence| (fence.partition, fence.next)));
            }
            WriterReport::Dropped => self.in_flight.pop(),
            WriterReport::Waiting(reason) => self.watch.writer_waiting(reason),
        }
    }

    /// Discards what was read and begins all partitions again: the offsets in Postgres have changed, or Kafka does not have the
    /// next records.
    fn restart_partitions(&mut self) {
        self.generation = self.setup.generation.load(Ordering::SeqCst);
        self.pending.drain();
        self.to_commit.clear();
        self.assigned.restart();
        let all: Vec<Partition> = self.assigned.iter().map(|(partition, _)| partition).collect();
        self.unassign(&all);
        self.lookups.expedite_begin_offsets();
    }

    /// Begins the partitions that were looked up and still belong to this sink.
    fn begin_partitions(&mut self, found: Result<BeginOffsets, String>) {
        let begun = found.and_then(|found| {
            self.assigned.add_skips(found.skips);
            let begins: Vec<_> =
                found.begin.into_iter().filter(|(partition, _)| self.assigned.accepts_offset(*partition)).collect();
            let offsets = begins.iter().filter_map(|(partition, begin)| Some((*partition, *begin.as_ref().ok()?)));
            self.offset_list(offsets)
                .and_then(|list| group::assign(&self.consumer, &list).map(|()| list))
                .map(|list| self.pause_as_others(&list))
                .map_err(|error| format!("the partitions could not be assigned: {error}"))?;
            for (partition, begin) in begins {
                self.assigned.set_begin(partition, begin);
            }
            Ok(())
        });
        // Partitions that the answer does not contain are looked up again.
        self.assigned.reset_requested();
        match begun {
            Ok(()) => {
                self.begin_backoff.reset();
                self.watch.all_begun();
                self.lookups.schedule_begin_offsets(if self.assigned.has_offset_not_in_log() {
                    OPERATOR_EVERY
                } else {
                    LOOKUP_PAUSE
                });
            }
            Err(reason) => {
                self.watch.begin_failed(reason);
                self.lookups.schedule_begin_offsets(self.begin_backoff.next_wait());
            }
        }
    }

    /// Tries blocked partitions again if their schema is known by now, or if an operator has asked to skip their record.
    fn unblock_partitions(&mut self, found: Result<SkipsAndSchemas, String>) {
        self.lookups.schedule_skips_and_schemas(OPERATOR_EVERY);
        let Ok(found) = found else { return };
        let known = self.add_schemas(found.schemas);
        let blocked: Vec<_> = self.assigned.blocked().collect();
        for (partition, offset, fingerprint) in blocked {
            let is_resolved = found.skips.contains_key(&(partition, offset))
                || fingerprint.is_some_and(|fingerprint| known.contains(&fingerprint));
            if is_resolved && !self.in_flight.contains(partition) {
                self.assigned.unblock(partition);
                self.lookups.expedite_begin_offsets();
            }
        }
    }

    /// Adds published schemas. Returns those that can be used.
    fn add_schemas(&mut self, schemas: Vec<(Fingerprint, String)>) -> HashSet<Fingerprint> {
        let mut decoder = self.setup.decoder.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = HashSet::new();
        for (fingerprint, text) in schemas {
            if decoder.schemas.knows(fingerprint) || decoder.schemas.add(fingerprint, &text).is_ok() {
                known.insert(fingerprint);
            } else if self.unusable_schemas.insert(fingerprint) {
                tracing::warn!(%fingerprint, "a published schema cannot be used");
            }
        }
        known
    }
}
