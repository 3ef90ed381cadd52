//! Sends requests at a rate, over several connections, until each is accepted or refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use serde_json::Value;
use service::backoff::Backoff;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::payload::{Kind, Request, request};

/// What to send, where, and how fast.
#[derive(Clone)]
pub struct Plan {
    /// The address of the ingress, such as `http://127.0.0.1:3000`.
    pub url: String,
    /// The API key. Never printed.
    pub api_key: String,
    /// The sender whose traffic is simulated.
    pub kind: Kind,
    /// The number of requests.
    pub count: u64,
    /// Requests per second; `None` sends as fast as the connections allow.
    pub rate: Option<u32>,
    /// The seed from which all values are derived.
    pub seed: u64,
    /// The number of devices.
    pub devices: u32,
    /// The number of concurrent requests.
    pub connections: u32,
    /// How long one request is repeated before the run gives up.
    pub patience: Duration,
    /// The time of the measurements.
    pub now: OffsetDateTime,
}

/// A request that the ingress answered with 200.
#[derive(Clone)]
pub struct Accepted {
    /// The number of the request in the run.
    pub number: u64,
    /// The receipts in the answer.
    pub receipts: Vec<String>,
    /// The number of readings that must result from it.
    pub readings: u64,
    /// The time from when the request was due to the answer. Without a rate, a request is due when a connection is free.
    pub took: Duration,
}

/// The result of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of requests that were answered 200.
    pub accepted: u64,
    /// The number of requests that were answered 4xx, except 408 and 429: repeating them changes nothing.
    pub refused: u64,
    /// The number of attempts that were answered 408, 429, 5xx or not at all, and were repeated.
    pub repeated: u64,
    /// The number of readings that must result from the accepted requests.
    pub readings: u64,
    /// The median of the time to the answer.
    pub p50: Duration,
    /// The 99th percentile of the time to the answer.
    pub p99: Duration,
    /// How long the run took.
    pub took: Duration,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The HTTP client could not be created.
    #[error("the HTTP client cannot be created")]
    Client(#[source] reqwest::Error),
    /// The ingress did not accept a request within the patience.
    #[error("the ingress did not accept request {number} within {patience:?}: are the ingress and Kafka running?")]
    Away {
        /// The number of the request.
        number: u64,
        /// How long it was repeated.
        patience: Duration,
    },
    /// A sender task ended abnormally.
    #[error("a sender ended abnormally")]
    Task(#[from] tokio::task::JoinError),
}

struct Counters {
    next: AtomicU64,
    refused: AtomicU64,
    repeated: AtomicU64,
}

/// Sends the requests of the plan. `on_accepted` is called for each request as soon as it is answered 200.
///
/// # Errors
/// [`SimulateError`].
pub async fn run(
    plan: Plan,
    progress: ProgressBar,
    on_accepted: impl Fn(&Accepted) + Send + Sync + Clone + 'static,
) -> Result<Summary, SimulateError> {
    let client = Client::builder()
        .timeout(Duration::from_secs(20))
        .pool_max_idle_per_host(plan.connections as usize)
        .build()
        .map_err(SimulateError::Client)?;
    let plan = Arc::new(plan);
    let counters =
        Arc::new(Counters { next: AtomicU64::new(0), refused: AtomicU64::new(0), repeated: AtomicU64::new(0) });
    let start = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..plan.connections.max(1) {
        let sender = Sender { client: client.clone(), plan: Arc::clone(&plan), counters: Arc::clone(&counters), start };
        let (progress, on_accepted) = (progress.clone(), on_accepted.clone());
        senders.spawn(async move { sender.work(&progress, on_accepted).await });
    }
    let mut times = Vec::new();
    let mut readings = 0;
    while let Some(sent) = senders.join_next().await {
        let (sent_times, sent_readings) = sent??;
        times.extend(sent_times);
        readings += sent_readings;
    }
    progress.finish_and_clear();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
    Ok(Summary {
        accepted: times.len() as u64,
        refused: counters.refused.load(Ordering::Relaxed),
        repeated: counters.repeated.load(Ordering::Relaxed),
        readings,
        p50: at(50),
        p99: at(99),
        took: start.elapsed(),
    })
}

struct Sender {
    client: Client,
    plan: Arc<Plan>,
    counters: Arc<Counters>,
    start: Instant,
}

enum Answer {
    Accepted(Vec<String>),
    Refused,
    Repeat,
}

impl Sender {
    async fn work(
        &self,
        progress: &ProgressBar,
        on_accepted: impl Fn(&Accepted),
    ) -> Result<(Vec<Duration>, u64), SimulateError> {
        let (mut times, mut readings) = (Vec::new(), 0);
        loop {
            let number = self.counters.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.plan.count {
                return Ok((times, readings));
            }
            // Open loop: the time of a request depends only on its number, so a slow answer delays no other request.
            let due = self.plan.rate.map_or_else(Instant::now, |rate| {
                self.start + Duration::from_nanos(number.saturating_mul(1_000_000_000) / u64::from(rate.max(1)))
            });
            tokio::time::sleep_until(due.into()).await;
            let request = request(self.plan.kind, self.plan.seed, number, self.plan.devices, self.plan.now);
            if let Some(receipts) = self.send(number, &request).await? {
                let took = due.elapsed();
                on_accepted(&Accepted { number, receipts, readings: request.readings, took });
                times.push(took);
                readings += request.readings;
            }
            progress.inc(1);
        }
    }

    async fn send(&self, number: u64, request: &Request) -> Result<Option<Vec<String>>, SimulateError> {
        let first = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            match self.try_once(request).await {
                Answer::Accepted(receipts) => return Ok(Some(receipts)),
                Answer::Refused => {
                    self.counters.refused.fetch_add(1, Ordering::Relaxed);
                    return Ok(None);
                }
                Answer::Repeat if first.elapsed() > self.plan.patience => {
                    return Err(SimulateError::Away { number, patience: self.plan.patience });
                }
                Answer::Repeat => {
                    self.counters.repeated.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    async fn try_once(&self, request: &Request) -> Answer {
        let sent = self
            .client
            .post(format!("{}{}", self.plan.url, request.path))
            .header("X-API-Key", &self.plan.api_key)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(request.body.clone())
            .send()
            .await;
        let Ok(response) = sent else { return Answer::Repeat };
        match response.status() {
            StatusCode::OK => response.json().await.map_or(Answer::Repeat, |body| Answer::Accepted(receipts(&body))),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Answer::Repeat,
            status if status.is_client_error() => Answer::Refused,
            _ => Answer::Repeat,
        }
    }
}

fn receipts(body: &Value) -> Vec<String> {
    let id = |entry: &Value| entry.get("_id").and_then(Value::as_str).map(str::to_owned);
    match body {
        Value::Array(entries) => entries.iter().filter_map(id).collect(),
        other => id(other).into_iter().collect(),
    }
}
