//! Runs the sink: a reader and a writer for each lane.

use std::{
    str::FromStr as _,
    sync::{Arc, RwLock, atomic::AtomicU64, mpsc as sync_mpsc},
};

use rdkafka::producer::{FutureProducer, Producer as _};
use schemas::codec::SchemaCache;
use service::{health::StageHealth, rebootstrap::Rebootstrap};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{SinkConfig, SinkError, consume, decode::Decoder, item::Lane, lane_state::LaneHealth, writer::Writer};

/// Runs the sink until it is asked to stop. It waits out outages of Kafka and Postgres.
///
/// # Errors
/// [`SinkError`]: a setting that cannot work, a defect, or a thread that ended abnormally.
pub async fn run(config: SinkConfig, health: StageHealth, shutdown: CancellationToken) -> Result<(), SinkError> {
    PgConnectOptions::from_str(&config.database_url).map_err(SinkError::Address)?;
    let decoder = Arc::new(RwLock::new(Decoder {
        schemas: SchemaCache::new()?,
        key: config.receipt_key.clone(),
        topics: config.topics.clone(),
    }));
    let producer: FutureProducer = config.kafka.producer().create()?;
    let client = producer.clone();
    let _rebootstrap = Rebootstrap::new(&config.kafka.bootstrap).watch(move |rebootstrap| {
        rebootstrap.check(client.client());
    });
    let stop = shutdown.child_token();
    // Dropping this future stops the threads as well.
    let _ends = stop.clone().drop_guard();
    let [live, bulk] = LaneHealth::for_each_lane(&health);
    let shared = Shared { config, decoder, producer, stop };
    let lane = |lane, health| run_lane(lane, shared.clone(), health);
    let (live, bulk) = tokio::join!(lane(Lane::Live, live), lane(Lane::Bulk, bulk));
    live.and(bulk)
}

/// What both lanes share.
#[derive(Clone)]
struct Shared {
    config: SinkConfig,
    decoder: Arc<RwLock<Decoder>>,
    producer: FutureProducer,
    /// Stops both lanes.
    stop: CancellationToken,
}

/// Runs the reader and the writer of a lane. If one of them ends, the whole sink stops.
async fn run_lane(lane: Lane, shared: Shared, health: LaneHealth) -> Result<(), SinkError> {
    let Shared { config, decoder, producer, stop } = shared;
    let (batches, inbox) = mpsc::channel(1);
    let (reports, writer_reports) = sync_mpsc::channel();
    let generation = Arc::new(AtomicU64::new(0));
    let setup = consume::Setup {
        lane,
        config: config.clone(),
        decoder: decoder.clone(),
        batches,
        writer_reports,
        generation: generation.clone(),
        health,
        shutdown: stop.clone(),
    };
    let thread = consume::spawn(setup, tokio::runtime::Handle::current()).inspect_err(|_| stop.cancel())?;
    let writer = Writer { config, decoder, producer, reports, generation, shutdown: stop.clone(), session: None };
    // On a thread of its own: the writer mostly waits for Postgres, and rustc cannot prove that its future is `Send`.
    let handle = tokio::runtime::Handle::current();
    let written = tokio::task::spawn_blocking(move || handle.block_on(writer.run(inbox))).await;
    // The writer ends when the consumer has ended, or because it cannot continue. In the latter case this stops the consumer.
    stop.cancel();
    let read = tokio::task::spawn_blocking(move || thread.join()).await;
    match (written, read) {
        (Ok(Ok(())), Ok(Ok(ended))) => ended,
        (Ok(Err(failed)), _) => Err(failed),
        (Err(_), _) | (_, Ok(Err(_)) | Err(_)) => Err(SinkError::ThreadEnded),
    }
}
