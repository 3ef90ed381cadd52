//! The mapping pool alone, without a broker: the gain of a second thread.

use std::{num::NonZeroUsize, sync::Arc};

use normalizer::pool::{Pool, Work};
use schemas::{
    codec::encode,
    format::{Format, Provider},
    raw::Headers,
};
use tokio::time::Instant;

use super::pure;
use crate::{
    Result,
    payload::{self, TestPayload},
    plan::Plan,
    round::{Measured, Side, interleaved},
    table::{Limit, Row},
};

/// The number of payloads that the pool gets at once, as after a poll of Kafka.
const BATCH: u64 = 5_000;

/// The work of the threads: from the raw record to the readings' Avro bytes.
struct Mapper(Headers);

impl Work for Mapper {
    type Record = TestPayload;
    type Events = Vec<Vec<u8>>;

    fn bytes(&self, payload: &TestPayload) -> usize {
        payload.body.len()
    }

    fn map(&self, payload: &TestPayload) -> Self::Events {
        normalizer::normalize(&pure::record(Provider::Medisante, &self.0, payload))
            .readings
            .iter()
            .map(encode)
            .collect()
    }

    fn panicked(&self, _: &TestPayload) -> Self::Events {
        Vec::new()
    }
}

/// Measures two threads against one.
pub(crate) async fn measure(plan: &Plan) -> Result<Row> {
    let batch: Arc<Vec<TestPayload>> = Arc::new((0..BATCH).map(|number| payload::glucose(8, number)).collect());
    let rounds = interleaved(plan, "mapping pool", async |side, _| {
        let threads = match side {
            Side::Product => NonZeroUsize::MIN.saturating_add(1),
            Side::Peer => NonZeroUsize::MIN,
        };
        run(plan, &batch, threads).await
    })
    .await?;
    Ok(Row {
        limit: Some(Limit::Ratio(1.6)),
        gate: "one reading of each payload".to_owned(),
        note: format!(
            "Two threads (product) against one (peer), without a broker: Medisanté JSON of about 640 bytes in batches of {BATCH}, \
             whose readings are returned as Avro bytes in the order of the payloads."
        ),
        ..Row::compared("mapping pool: two threads against one", "payloads/s", &rounds)
    })
}

async fn run(plan: &Plan, batch: &Arc<Vec<TestPayload>>, threads: NonZeroUsize) -> Result<Measured> {
    let pool = Pool::start(threads, Mapper(pure::headers(Format::StandardJson)?))?;
    let (start, mut readings, mut batches) = (Instant::now(), 0, 0);
    while start.elapsed() < plan.load_time() / 2 {
        let mut mapping = pool.map(Arc::clone(batch));
        while let Some(events) = mapping.next().await? {
            readings += events.iter().map(|of_one| of_one.len() as u64).sum::<u64>();
        }
        batches += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    if readings != BATCH * batches {
        return Err(format!("gate: {readings} readings of {batches} batches").into());
    }
    Ok(Measured { rate: readings as f64 / seconds, cpu_seconds_per_million: None, peak_rss_mib: None })
}
