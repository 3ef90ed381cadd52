//! The writing half: take a batch, write it until it is written or stale, tell the consumer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as sync_mpsc,
    },
    time::Duration,
};

use rdkafka::producer::{FutureProducer, Producer as _};
use schemas::codec::SchemaCache;
use service::{backoff::Backoff, health::StageHealth, recall::Recall};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    SinkConfig, SinkError,
    batch::{Batch, Body, Item},
    consume,
    decode::Decoder,
    error::{Fault, fault},
    letters,
    stage::Staged,
    write::{Session, WriteError, Written},
};

/// From the consumer to the writer.
pub(crate) enum Order {
    /// Write this.
    Write(Batch),
    /// Answer when everything before has been dealt with.
    Barrier(oneshot::Sender<()>),
}

/// From the writer to the consumer.
pub(crate) enum News {
    /// The batch and its fence's offsets stand in Postgres. It comes back so that the writer need not wait for its end.
    Written(Batch),
    /// The writer waits for something.
    Waiting(String),
    /// The offsets in Postgres are not ours: seek anew. Batches of older generations are dropped.
    Seek,
}

/// A transaction that takes longer counts as an outage.
const WRITE_LONGEST: Duration = Duration::from_mins(1);

/// Runs the sink until it is asked to stop. Outages are waited out.
///
/// # Errors
/// [`SinkError`]: a setting that can never work, or a thread that ended.
pub async fn run(config: SinkConfig, health: StageHealth, shutdown: CancellationToken) -> Result<(), SinkError> {
    let decoder = Arc::new(std::sync::RwLock::new(Decoder {
        schemas: SchemaCache::new()?,
        key: config.receipt_key.clone(),
        topics: config.topics.clone(),
    }));
    let (orders, inbox) = mpsc::channel(1);
    let (news, told) = sync_mpsc::channel();
    let generation = Arc::new(AtomicU64::new(0));
    let producer: FutureProducer = config.kafka.producer().create()?;
    let known = producer.clone();
    let _recalled = Recall::new(&config.kafka).keep(move |recall| {
        recall.look(known.client());
    });
    let stop = shutdown.child_token();
    let thread = consume::spawn(
        consume::Setup {
            config: config.clone(),
            decoder: decoder.clone(),
            orders,
            news: told,
            generation: generation.clone(),
            health,
            shutdown: stop.clone(),
        },
        tokio::runtime::Handle::current(),
    )?;
    let writer = Writer { config, decoder, producer, news, generation, shutdown: stop, session: None };
    // On a thread of its own: it mostly waits for Postgres, and its future holds what rustc cannot prove to be `Send`.
    let handle = tokio::runtime::Handle::current();
    let written = tokio::task::spawn_blocking(move || handle.block_on(writer.work(inbox)));
    if written.await.is_err() {
        return Err(SinkError::ThreadEnded);
    }
    // The channel closes only when the consumer has ended.
    match tokio::task::spawn_blocking(move || thread.join()).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_)) | Err(_) => Err(SinkError::ThreadEnded),
    }
}

struct Writer {
    config: SinkConfig,
    decoder: Arc<std::sync::RwLock<Decoder>>,
    producer: FutureProducer,
    news: sync_mpsc::Sender<News>,
    generation: Arc<AtomicU64>,
    shutdown: CancellationToken,
    session: Option<Session>,
}

enum Try {
    Done(Written),
    Fenced,
    Wait(String),
    BadRow,
}

impl Writer {
    async fn work(mut self, mut inbox: mpsc::Receiver<Order>) {
        while let Some(order) = inbox.recv().await {
            match order {
                Order::Barrier(answer) => drop(answer.send(())),
                Order::Write(batch) => self.write(batch).await,
            }
        }
    }

    async fn write(&mut self, mut batch: Batch) {
        let mut backoff = Backoff::default();
        while batch.generation == self.generation.load(Ordering::SeqCst) {
            match self.attempt(&mut batch).await {
                Try::Done(written) => {
                    count(&batch, written);
                    let _ = self.news.send(News::Written(batch));
                    return;
                }
                Try::Fenced => {
                    tracing::warn!("the next offsets in Postgres were moved by another sink or restored: seeking anew");
                    self.generation.fetch_add(1, Ordering::SeqCst);
                    let _ = self.news.send(News::Seek);
                    return;
                }
                Try::Wait(reason) => {
                    let _ = self.news.send(News::Waiting(reason));
                    tokio::select! {
                        () = self.shutdown.cancelled() => return,
                        () = tokio::time::sleep(backoff.next_wait()) => {}
                    }
                }
                Try::BadRow => {
                    if self.isolate(&mut batch.items).await {
                        batch.staged = Staged::of(&batch.items);
                    } else {
                        let _ = self
                            .news
                            .send(News::Waiting("Postgres refuses a batch, but none of its rows alone".to_owned()));
                        tokio::select! {
                            () = self.shutdown.cancelled() => return,
                            () = tokio::time::sleep(backoff.next_wait()) => {}
                        }
                    }
                }
            }
        }
    }

    async fn attempt(&mut self, batch: &mut Batch) -> Try {
        for item in &batch.items {
            if let Body::Refused(letter) = &item.body
                && letters::produce(&self.producer, &self.config.topics, letter).await.is_err()
            {
                return Try::Wait("Kafka does not take dead letters".to_owned());
            }
        }
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(error) => return judge(&error),
        };
        let writing = session.write(&self.config.topics, batch);
        match tokio::time::timeout(WRITE_LONGEST, writing).await {
            Ok(Ok(written)) => {
                self.session = Some(session);
                Try::Done(written)
            }
            Ok(Err(WriteError::Fenced)) => Try::Fenced,
            Ok(Err(WriteError::Database(error))) => judge(&error),
            Err(_) => Try::Wait("Postgres does not answer".to_owned()),
        }
    }

    async fn session(&mut self) -> Result<Session, sqlx::Error> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => tokio::time::timeout(Duration::from_secs(10), Session::open(&self.config.database_url))
                .await
                .unwrap_or(Err(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Finds the rows that Postgres refuses by halving, and makes dead letters of them. False when there was none.
    async fn isolate(&mut self, items: &mut [Item]) -> bool {
        let mut found = false;
        let mut suspects = Vec::from([(0, items.len())]);
        while let Some((start, end)) = suspects.pop() {
            let Some(part) = items.get(start..end) else { continue };
            match self.rehearse(part).await {
                Rehearsal::Good => {}
                Rehearsal::Away => return found,
                Rehearsal::Bad(detail) if part.len() == 1 => {
                    let refused = part
                        .first()
                        .and_then(|item| self.decoder.read().ok().map(|decoder| decoder.refuse_item(item, &detail)));
                    if let (Some(refused), Some(place)) = (refused, items.get_mut(start)) {
                        *place = refused;
                        found = true;
                    }
                }
                Rehearsal::Bad(_) => {
                    let middle = start + part.len() / 2;
                    suspects.extend([(start, middle), (middle, end)]);
                }
            }
        }
        found
    }

    async fn rehearse(&mut self, items: &[Item]) -> Rehearsal {
        let Ok(mut session) = self.session().await else { return Rehearsal::Away };
        match session.rehearse(&self.config.topics, items).await {
            Ok(()) => {
                self.session = Some(session);
                Rehearsal::Good
            }
            Err(WriteError::Database(error)) if fault(&error) == Fault::BadRow => Rehearsal::Bad(sqlstate(&error)),
            Err(WriteError::Database(_) | WriteError::Fenced) => Rehearsal::Away,
        }
    }
}

enum Rehearsal {
    Good,
    Bad(String),
    Away,
}

/// Only the code: Postgres quotes values in its messages.
fn sqlstate(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    format!("SQLSTATE {}", code.as_deref().unwrap_or("unknown"))
}

fn judge(error: &sqlx::Error) -> Try {
    match fault(error) {
        Fault::BadRow => Try::BadRow,
        Fault::Outage => Try::Wait("Postgres is away or cannot answer now".to_owned()),
        Fault::Setup => Try::Wait(format!(
            "Postgres refuses the sink's statements ({}): are the migrations applied and the rights given?",
            sqlstate(error)
        )),
    }
}

fn count(batch: &Batch, written: Written) {
    let refused = batch.items.iter().filter(|item| matches!(item.body, Body::Refused(_))).count();
    metrics::counter!("device_manager_sink_messages_total").increment(batch.items.len() as u64);
    metrics::counter!("device_manager_sink_readings_inserted_total").increment(written.inserted);
    metrics::counter!("device_manager_sink_readings_known_total")
        .increment(written.readings.saturating_sub(written.inserted));
    metrics::counter!("device_manager_sink_dead_letters_total").increment(refused as u64);
}
