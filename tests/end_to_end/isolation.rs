//! An honest sender beside hostile senders, and beside a large upload.
//!
//! In CI these tests run with short durations and loose limits. `make isolation` measures the release build on an idle machine:
//! `ISOLATION_SECONDS` is the duration of each hostile sender, `ISOLATION_P99_MS` the limit of the 99th percentile until a row is
//! visible, `ISOLATION_EXPORT_MB` the size of the export, and `ISOLATION_MORE_MS` how much longer a reading may take beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sqlx::PgPool;
use time::format_description::well_known::Rfc3339;

use crate::{
    payload::{START, glucose_of},
    world::{IngressClient, Stage, World, until},
};

const STAGES: [Stage; 3] = [Stage::Ingress, Stage::Normalizer, Stage::Sink];
const HEALTHKIT: &str = "/health-data/healthkit/standard-json";
/// The limit of the resident memory of each stage, however hostile its input, in KiB.
const RESIDENT_KIB_MAX: u64 = 150 * 1024;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Sends at most fifty readings a second of a device of its own, and measures the time from each answer until the row is visible.
struct HonestSender {
    device: String,
    acknowledged: Mutex<BTreeMap<i64, Instant>>,
    latencies: Mutex<BTreeMap<i64, Duration>>,
    stop: AtomicBool,
}

impl HonestSender {
    fn start(world: &World, device: &str) -> (Arc<Self>, [tokio::task::JoinHandle<()>; 2]) {
        let honest = Arc::new(Self {
            device: device.to_owned(),
            acknowledged: Mutex::default(),
            latencies: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let sending = tokio::spawn(Arc::clone(&honest).send(world.client.clone()));
        let watching = tokio::spawn(Arc::clone(&honest).watch(world.pool.clone()));
        (honest, [sending, watching])
    }

    async fn send(self: Arc<Self>, client: IngressClient) {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for second in 0.. {
            tick.tick().await;
            if self.stop.load(Relaxed) {
                return;
            }
            let measured = (START + time::Duration::seconds(second)).format(&Rfc3339).unwrap();
            client.post_medisante(&glucose_of(&self.device, &measured)).await;
            self.acknowledged.lock().unwrap().insert(second, Instant::now());
        }
    }

    /// Watches the table; ends when the sender has stopped and all of its rows are visible.
    async fn watch(self: Arc<Self>, pool: PgPool) {
        loop {
            let rows: BTreeSet<i64> = sqlx::query_scalar(
                "SELECT extract(epoch FROM r.measured_from)::bigint FROM readings r \
                 JOIN device_descriptions d USING (description_id) WHERE d.device_id = $1",
            )
            .bind(&self.device)
            .fetch_all(&pool)
            .await
            .unwrap()
            .into_iter()
            .map(|second: i64| second - START.unix_timestamp())
            .collect();
            if self.record_visible(&rows) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Records the time at which rows are first seen. Returns whether the sender has stopped and all of its rows are visible.
    fn record_visible(&self, rows: &BTreeSet<i64>) -> bool {
        let is_over = self.stop.load(Relaxed);
        let acknowledged = self.acknowledged.lock().unwrap();
        let mut latencies = self.latencies.lock().unwrap();
        for (second, since) in acknowledged.iter().filter(|(second, _)| rows.contains(second)) {
            latencies.entry(*second).or_insert_with(|| since.elapsed());
        }
        is_over && latencies.len() == acknowledged.len()
    }

    /// Stops the sender and returns the median, the 99th percentile and the maximum of the times.
    async fn finish(self: Arc<Self>, tasks: [tokio::task::JoinHandle<()>; 2]) -> [Duration; 3] {
        self.stop.store(true, Relaxed);
        for task in tasks {
            tokio::time::timeout(crate::world::WITHIN, task).await.expect("not all rows were visible in time").unwrap();
        }
        let mut latencies: Vec<Duration> = self.latencies.lock().unwrap().values().copied().collect();
        latencies.sort_unstable();
        let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)];
        [at(50), at(99), at(100)]
    }
}

/// What a hostile sender has sent: receipts that `trace` must resolve, and the numbers of items and commands.
#[derive(Default)]
struct Traces {
    receipts: Vec<String>,
    items: i64,
    commands: i64,
}

/// Sends 8,000 samples in about 20 KB, each with a character that Postgres cannot store.
async fn unstorable(client: &IngressClient) -> Traces {
    let mut body = String::from("[");
    for value in 0..8_000 {
        let comma = if value == 0 { "" } else { "," };
        write!(
            body,
            "{comma}{{\"type\":\"x\\u0000\",\"value\":{value},\"unit\":\"u\",\"startDate\":\"2026-03-01T00:00:00Z\"}}"
        )
        .unwrap();
    }
    body.push(']');
    post_items(client, HEALTHKIT, &gzip(body.as_bytes()), 8_000).await
}

/// Sends a body of some hundred bytes with 100,000 items, none of which is a sample.
async fn bomb(client: &IngressClient) -> Traces {
    let body = format!("[{}0]", "0,".repeat(99_999));
    post_items(client, HEALTHKIT, &gzip(body.as_bytes()), 100_000).await
}

async fn post_items(client: &IngressClient, path: &str, body: &[u8], items: i64) -> Traces {
    let answer: Value = client.post_gzip(path, body).await;
    let ids = answer.as_array().unwrap();
    assert_eq!(i64::try_from(ids.len()).unwrap(), items);
    let receipts = [0, ids.len() / 2, ids.len() - 1].map(|at| ids[at]["_id"].as_str().unwrap().to_owned());
    Traces { receipts: receipts.into(), items, commands: 0 }
}

/// Sends 16 concurrent assignments of one device to one patient; `number` selects the patient.
async fn commands(client: &IngressClient, number: i64) -> Traces {
    let body = json!({
        "deviceId": "HOSTILE", "deviceType": "Wearable", "name": "W", "deviceProvider": "medisante",
        "assignedPatientId": format!("p-{}", number % 7),
    });
    let each = (0..16).map(|_| client.post("/devices/assign", &body));
    futures_util::future::join_all(each).await;
    Traces { commands: 16, ..Traces::default() }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Hostile {
    Nobody,
    Unstorable,
    Bombs,
    Commands,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_sender_delays_no_other() {
    let lasting = Duration::from_secs(setting("ISOLATION_SECONDS", 6));
    let p99_max = Duration::from_millis(setting("ISOLATION_P99_MS", 20_000));
    let world = World::start().await;
    for stage in STAGES {
        world.until_ready((stage, 0)).await;
    }
    let mut left = Traces::default();
    for hostile in [Hostile::Nobody, Hostile::Unstorable, Hostile::Bombs, Hostile::Commands] {
        let (honest, tasks) = HonestSender::start(&world, &format!("honest-{hostile:?}"));
        let begun = Instant::now();
        let mut number = 0;
        while begun.elapsed() < lasting {
            let traces = match hostile {
                Hostile::Unstorable if number < 3 => unstorable(&world.client).await,
                Hostile::Bombs if number < 20 => bomb(&world.client).await,
                Hostile::Nobody | Hostile::Unstorable | Hostile::Bombs => Traces::default(),
                Hostile::Commands => commands(&world.client, number).await,
            };
            number += 1;
            left.receipts.extend(traces.receipts);
            left.items += traces.items;
            left.commands += traces.commands;
            for stage in STAGES {
                let (is_ready, answer) = world.ready((stage, 0)).await.unwrap();
                assert!(is_ready, "{hostile:?}: {answer}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let [median, p99, longest] = honest.finish(tasks).await;
        let resident = STAGES.map(|stage| world.resident_kib_max((stage, 0)));
        println!(
            "{hostile:?}: rows of the honest sender after {median:?} (median), {p99:?} (p99), {longest:?} at most; \
             resident at most {resident:?} KiB"
        );
        assert!(p99 <= p99_max, "{hostile:?}: {p99:?}");
        assert!(resident.iter().all(|resident| *resident < RESIDENT_KIB_MAX), "{hostile:?}: {resident:?} KiB");
    }
    // Every item has its dead letter, and every command is recorded.
    world
        .until_count(
            "SELECT coalesce(sum(item_count), 0)::bigint FROM dead_letters WHERE raw_topic = 'raw.healthkit'",
            left.items,
        )
        .await;
    world
        .until_count(
            "SELECT (SELECT count(*) FROM device_commands) \
                 + (SELECT coalesce(sum(last_offset - first_offset + 1), 0)::bigint FROM excess_commands)",
            left.commands,
        )
        .await;
    world.assert_ledger(left.items).await;
    for receipt in left.receipts {
        let (trace, is_whole) = world.trace(&receipt);
        assert!(is_whole, "{trace}");
        assert!(trace.contains("dead letter"), "{trace}");
    }
}

/// Apple's export of at least `megabytes` MB, with one record a second.
fn export(megabytes: u64) -> String {
    let mut text = String::from("<?xml version=\"1.0\"?>\n<HealthData locale=\"en\">\n");
    let mut number = 0_u64;
    while (text.len() as u64) < megabytes * 1_000_000 {
        let moment = START + time::Duration::seconds(i64::try_from(number).unwrap());
        let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000");
        let moment = moment.format(format).unwrap();
        writeln!(
            text,
            " <Record type=\"HKQuantityTypeIdentifierHeartRate\" sourceName=\"Watch\" sourceVersion=\"10.1\" unit=\"count/min\" \
             creationDate=\"{moment}\" startDate=\"{moment}\" endDate=\"{moment}\" value=\"{}\"/>",
            50 + number % 90
        )
        .unwrap();
        number += 1;
    }
    text.push_str("</HealthData>\n");
    text
}

const BULK: &str = "SELECT count(*) FROM readings WHERE topic_code = 3";

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_does_not_wait_for_a_large_upload() {
    let megabytes = setting("ISOLATION_EXPORT_MB", 60);
    let world = World::start().await;
    world.until_ready((Stage::Sink, 0)).await;
    let text = export(megabytes);
    let records = i64::try_from(text.matches("<Record").count()).unwrap();
    let alone = tries(&world, "alone", i64::MAX).await;
    let answer = world.client.try_upload("/health-data/healthkit/export-xml?deviceId=watch-9", text).await.unwrap();
    assert_eq!(answer.status(), 200);
    let since = Instant::now();
    let beside = tries(&world, "beside", records).await;
    until_written(&world, records).await;
    println!(
        "time until a reading's row: {:?} (median of {}) alone; {:?} (median of {}) beside an export of {megabytes} MB, whose \
         {records} rows took {:?}",
        median(&alone),
        alone.len(),
        median(&beside),
        beside.len(),
        since.elapsed()
    );
    assert!(beside.len() >= 5, "the export was written too fast: a larger one is needed");
    let more_max = Duration::from_millis(setting("ISOLATION_MORE_MS", 10_000));
    assert!(median(&beside) <= median(&alone) + more_max);
    world.assert_ledger(records).await;
}

/// Waits until all records of the upload are rows. The time limit applies to each step of progress, not to the whole upload.
async fn until_written(world: &World, records: i64) {
    let mut written = world.count(BULK).await;
    while written < records {
        until("more of the upload is written", || async { world.count(BULK).await > written }).await;
        written = world.count(BULK).await;
    }
    assert_eq!(written, records);
}

/// Measures the time from a reading's answer to its row, sorted. Twenty measurements, or fewer if `bulk_rows` rows of uploads exist
/// before.
async fn tries(world: &World, device: &str, bulk_rows: i64) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for number in 0..20 {
        let measured = (START + time::Duration::seconds(number)).format(&Rfc3339).unwrap();
        world.client.post_medisante(&glucose_of(device, &measured)).await;
        let since = Instant::now();
        let query = format!(
            "SELECT count(*) FROM readings JOIN device_descriptions USING (description_id) WHERE device_id = '{device}'"
        );
        world.until_count(&query, number + 1).await;
        if world.count(BULK).await >= bulk_rows {
            break;
        }
        latencies.push(since.elapsed());
    }
    latencies.sort_unstable();
    latencies
}

fn median(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
