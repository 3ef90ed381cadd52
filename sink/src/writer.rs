//! The writing half of the sink: takes a batch, tries until it is written or stale, and reports to the reader.

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc as sync_mpsc,
    },
    time::Duration,
};

use rdkafka::{error::KafkaError, producer::FutureProducer};
use service::{
    backoff::Backoff,
    kafka_error::{Reaction, reaction_to},
};
use store::error_class::{self, ErrorClass, error_class};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    SinkConfig, SinkError,
    batch::Batch,
    decode::Decoder,
    item::{Body, Partition},
    write::{Session, WriteError, Written},
};

mod isolate;

/// A report from the writer to the reader. Each batch gets one `Written` or `Dropped`, in the order in which the batches were
/// sent.
pub(crate) enum WriterReport {
    /// The batch and the offsets of its fence are committed. The batch is returned so that the writer does not spend time on
    /// dropping it.
    Written(Box<Batch>),
    /// The batch was dropped: its generation is over (when a batch is fenced off, the writer starts the next one), or the sink
    /// stops.
    Dropped,
    /// The writer waits, for the reason given.
    Waiting(String),
}

/// A transaction that takes longer counts as an outage. Postgres ends each statement earlier (`store::connect`).
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a batch is retried because two writers seem to conflict, before one of its rows is treated as bad.
const CONFLICTS_MAX: u32 = 5;

pub(crate) struct Writer {
    pub(crate) config: SinkConfig,
    pub(crate) decoder: Arc<RwLock<Decoder>>,
    pub(crate) producer: FutureProducer,
    pub(crate) reports: sync_mpsc::Sender<WriterReport>,
    pub(crate) generation: Arc<AtomicU64>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) session: Option<Session>,
}

enum AttemptResult {
    Done(Written),
    Fenced,
    Wait(String),
    /// Two writers seem to conflict.
    Conflict,
    BadRow,
    PositionsReused(Vec<(Partition, i64)>),
    Defect(String),
    /// The producer has failed fatally.
    Producer(KafkaError),
}

impl Writer {
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Batch>) -> Result<(), SinkError> {
        while let Some(batch) = inbox.recv().await {
            let report = self.write(batch).await?;
            let _ = self.reports.send(report);
            #[cfg(feature = "fail-points")]
            service::fail_point::pass("sink-reported");
        }
        if let Some(session) = self.session {
            session.close().await;
        }
        Ok(())
    }

    async fn write(&mut self, mut batch: Batch) -> Result<WriterReport, SinkError> {
        let mut backoff = Backoff::default();
        let mut conflicts = 0;
        while batch.generation == self.generation.load(Ordering::SeqCst) {
            let reason = match self.attempt(&mut batch).await {
                AttemptResult::Done(written) => {
                    count(&batch, written);
                    return Ok(WriterReport::Written(Box::new(batch)));
                }
                AttemptResult::Fenced => {
                    tracing::warn!("another sink or a restore changed the next offsets in Postgres: reading again");
                    self.generation.fetch_add(1, Ordering::SeqCst);
                    return Ok(WriterReport::Dropped);
                }
                AttemptResult::Defect(name) => return Err(SinkError::Defect(name)),
                AttemptResult::Producer(error) => return Err(SinkError::Kafka(error)),
                AttemptResult::Wait(reason) => reason,
                AttemptResult::PositionsReused(reused) => {
                    self.refuse_reused(&mut batch, &reused);
                    continue;
                }
                AttemptResult::Conflict if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    "two sinks write the same rows".to_owned()
                }
                AttemptResult::Conflict | AttemptResult::BadRow => {
                    if self.refuse_bad_rows(&mut batch).await {
                        continue;
                    }
                    "Postgres refuses a batch, but accepts each of its rows alone".to_owned()
                }
            };
            let _ = self.reports.send(WriterReport::Waiting(reason));
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(WriterReport::Dropped),
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
        Ok(WriterReport::Dropped)
    }

    async fn attempt(&mut self, batch: &mut Batch) -> AttemptResult {
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(error) => return classify_write_error(&error),
        };
        // A write that times out is dropped with its connection. Postgres has ended its statement by then.
        match tokio::time::timeout(WRITE_TIMEOUT, self.write_and_produce(&mut session, batch)).await {
            Ok(Ok(Ok(written))) => {
                self.session = Some(session);
                AttemptResult::Done(written)
            }
            Ok(Ok(Err(error))) => {
                session.close().await;
                classify_producer_error(error)
            }
            Ok(Err(error)) => {
                session.close().await;
                classify_write_error(&error)
            }
            Err(_) => AttemptResult::Wait("Postgres does not answer".to_owned()),
        }
    }

    /// Writes the batch. Its dead letters are produced when only the commit can still fail.
    async fn write_and_produce(
        &self,
        session: &mut Session,
        batch: &mut Batch,
    ) -> Result<Result<Written, KafkaError>, WriteError> {
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("sink-received");
        let prepared = session.prepare(&self.config.topics, batch).await?;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("sink-prepared");
        if let Err(error) = batch.dead_letters.produce(&self.producer, &self.config.topics, &batch.items).await {
            return Ok(Err(error));
        }
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("sink-letters-produced");
        let written = prepared.commit().await;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("sink-committed");
        written.map(Ok)
    }

    async fn session(&mut self) -> Result<Session, WriteError> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => Session::open(&self.config.database_url).await,
        }
    }
}

fn classify_write_error(error: &WriteError) -> AttemptResult {
    let error = match error {
        WriteError::Fenced => return AttemptResult::Fenced,
        WriteError::Schema(mismatch) => return AttemptResult::Wait(mismatch.to_string()),
        WriteError::PositionsReused(reused) => return AttemptResult::PositionsReused(reused.clone()),
        WriteError::Database(error) => error,
    };
    match error_class(error) {
        ErrorClass::BadRow => AttemptResult::BadRow,
        ErrorClass::Conflict => AttemptResult::Conflict,
        ErrorClass::Outage | ErrorClass::Setup => AttemptResult::Wait(error_class::cause(error)),
        ErrorClass::Defect => AttemptResult::Defect(error_class::name(error)),
    }
}

fn classify_producer_error(error: KafkaError) -> AttemptResult {
    match reaction_to(&error) {
        // A dead letter that the brokers refuse is sent without its value in the next attempt.
        Reaction::Retry | Reaction::Refuse => {
            AttemptResult::Wait(format!("Kafka does not accept dead letters: {error}"))
        }
        Reaction::Fatal => AttemptResult::Producer(error),
    }
}

fn count(batch: &Batch, written: Written) {
    let refused = batch.items.iter().filter(|item| matches!(item.body, Body::Refused(_))).count();
    metrics::counter!("device_manager_sink_messages_total").increment(batch.items.len() as u64);
    metrics::counter!("device_manager_sink_readings_inserted_total").increment(written.inserted);
    metrics::counter!("device_manager_sink_readings_known_total")
        .increment(written.readings.saturating_sub(written.inserted));
    metrics::counter!("device_manager_sink_dead_letters_total").increment(refused as u64);
    for (verdict, count) in written.verdicts.counts() {
        metrics::counter!("device_manager_sink_commands_total", "verdict" => verdict.as_str()).increment(count);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaErrorCode as Code;

    use super::*;

    #[test]
    fn a_producer_with_a_fatal_error_is_not_waited_for() {
        let classify = |code| classify_producer_error(KafkaError::MessageProduction(code));
        assert!(matches!(classify(Code::Fatal), AttemptResult::Producer(_)));
        assert!(matches!(classify(Code::MessageTimedOut), AttemptResult::Wait(_)));
        assert!(matches!(classify(Code::MessageSizeTooLarge), AttemptResult::Wait(_)));
    }
}
