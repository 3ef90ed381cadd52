//! An export of Apple Health with about 300 MB: the time from the request to the last row, and the peak memory of each stage.

use std::{
    io::{BufReader, BufWriter, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    Result,
    database::RunDatabase,
    payload,
    plan::Plan,
    stack::{Stack, Stage},
    stats::Spread,
    table::{Limit, Row},
    topics::RunTopics,
};

const LIMIT: Duration = Duration::from_mins(5);
const MEMORY: Limit = Limit::Below(64.0);

/// The result of one export.
struct Uploaded {
    bytes: u64,
    /// Seconds until the answer.
    answered: f64,
    /// Seconds until the last row.
    stored: f64,
    /// The peak resident memory of each stage, in MiB.
    ingress: f64,
    normalizer: f64,
    sink: f64,
}

/// Measures the figures.
pub(crate) async fn measure(plan: &Plan, stack: &Stack) -> Result<Vec<Row>> {
    let records = plan.preloaded() / 3 * 4;
    let mut rounds = Vec::new();
    for round in 0..plan.rounds.min(3) {
        rounds.push(run(stack, round, records).await?);
    }
    let spread = |of: &dyn Fn(&Uploaded) -> f64| Spread::of(rounds.iter().map(of));
    let row = |figure: &str, unit, product| Row {
        figure: figure.to_owned(),
        unit,
        product,
        gate: "rows = distinct ids = records, no dead letter".to_owned(),
        ..Row::default()
    };
    let memory = |name: &str, peak: &dyn Fn(&Uploaded) -> f64| Row {
        limit: Some(MEMORY),
        ..row(&format!("a large export: {name}"), "MiB resident at most", spread(peak))
    };
    Ok(vec![
        memory("ingress", &|one| one.ingress),
        memory("normalizer", &|one| one.normalizer),
        Row {
            note: format!(
                "{records} records, {} MB, sent as fast as the ingress reads them; each stage is a process of its own. The request \
                 was answered after {:.1} s. The sink, which has no limit here, had {:.0} MiB resident at most.",
                rounds.first().map_or(0, |one| one.bytes) / 1_000_000,
                spread(&|one| one.answered).map_or(0.0, |spread| spread.median),
                spread(&|one| one.sink).map_or(0.0, |spread| spread.median),
            ),
            ..row("a large export: request to last row", "records/s", spread(&|one| records as f64 / one.stored))
        },
    ])
}

async fn run(stack: &Stack, round: u32, records: u64) -> Result<Uploaded> {
    let prefix = format!("upload-{round}-");
    let topics = RunTopics::make(&stack.settings, &prefix).await?;
    let database = RunDatabase::make(&stack.database_url, &format!("bench_upload{round}"), None).await?;
    let key = stack.key()?;
    let mut sink = stack.stage(&["sink"], &prefix, Some(&database.url), Some(&key)).await?;
    let normalizer = stack.stage(&["normalizer"], &prefix, None, Some(&key)).await?;
    let ingress = stack.stage(&["ingress"], &prefix, None, Some(&key)).await?;
    let start = Instant::now();
    let (address, secret) = (ingress.http, key.secret.clone());
    let bytes = tokio::task::spawn_blocking(move || send(address, &secret, records)).await??;
    let answered = start.elapsed().as_secs_f64();
    sink.process.until("the last row is stored", LIMIT, async || database.rows().await >= records).await?;
    let stored = start.elapsed().as_secs_f64();
    let peak = |stage: &Stage| stage.process.usage().map(|usage| usage.peak_rss_mib);
    let peaks = [peak(&ingress)?, peak(&normalizer)?, peak(&sink)?];
    for stage in [ingress, normalizer, sink] {
        stage.process.stop().await?;
    }
    let stored_rows = database.stored().await?;
    let dead = topics.counter(topics.topics.dead_letters())?.count()?;
    database.delete().await?;
    topics.delete().await?;
    if (stored_rows.rows, stored_rows.distinct, dead) != (records, records, 0) {
        return Err(format!("gate: {stored_rows:?} and {dead} dead letters of {records} records").into());
    }
    let [ingress, normalizer, sink] = peaks;
    Ok(Uploaded { bytes, answered, stored, ingress, normalizer, sink })
}

/// Sends the export with chunked transfer coding, as a sender does that creates it while sending. Returns its length in bytes.
/// Fails if the answer is not 200.
fn send(address: SocketAddr, secret: &str, records: u64) -> Result<u64> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut writer = BufWriter::with_capacity(256 * 1024, &stream);
    write!(
        writer,
        "POST /health-data/healthkit/export-xml HTTP/1.1\r\nHost: bench\r\nX-API-Key: {secret}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )?;
    let mut bytes = 0;
    for part in payload::export_parts(records) {
        write!(writer, "{:x}\r\n{part}\r\n", part.len())?;
        bytes += part.len() as u64;
    }
    writer.write_all(b"0\r\n\r\n")?;
    writer.flush()?;
    let mut answer = String::new();
    BufReader::new(&stream).read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(bytes)
    } else {
        Err(format!("the export was answered: {answer}").into())
    }
}
