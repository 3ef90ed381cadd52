//! Sends requests as a real sender does: one that is answered 5xx, 408, 429 or not at all is sent again.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, Response, StatusCode, header::CONTENT_TYPE};
use schemas::receipt::{ItemPosition, ReceiptKey};
use serde::Deserialize;

use super::{log::SendLog, request::Request};
use crate::{error::ChaosError, installation::Installation};

/// The longest time to wait for an answer. Longer than the ingress waits for Kafka.
const ANSWER: Duration = Duration::from_secs(10);
/// The pause before a request is sent again.
const PAUSE: Duration = Duration::from_millis(100);

/// What all senders of an installation share.
pub(crate) struct Sender {
    client: Client,
    urls: Vec<String>,
    api_key: String,
    receipt_key: ReceiptKey,
    log: Mutex<SendLog>,
    open: AtomicUsize,
    next_url: AtomicUsize,
    /// Whether the senders make no pauses.
    is_hurried: AtomicBool,
}

enum Answer {
    Receipts(Vec<ItemPosition>),
    Refused(StatusCode),
    NotAReceipt,
    Repeat,
}

#[derive(Deserialize)]
struct Id {
    #[serde(rename = "_id")]
    id: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Accepted {
    Items(Vec<Id>),
    One(Id),
}

#[derive(Deserialize)]
struct Problem {
    receipt: Option<String>,
}

impl Sender {
    pub(crate) fn new(installation: &Installation<'_>) -> Result<Self, ChaosError> {
        Ok(Self {
            client: Client::builder().timeout(ANSWER).build()?,
            urls: installation.ingress_urls.clone(),
            api_key: installation.api_key.clone(),
            receipt_key: installation.receipt_key.clone(),
            log: Mutex::default(),
            open: AtomicUsize::new(0),
            next_url: AtomicUsize::new(0),
            is_hurried: AtomicBool::new(false),
        })
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, SendLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of requests that are not answered yet.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Lets the senders make no pauses for a moment, so that a fault hits work in flight.
    pub(crate) fn hurry(&self, is_hurried: bool) {
        self.is_hurried.store(is_hurried, Ordering::Relaxed);
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.is_hurried.load(Ordering::Relaxed)
    }

    /// Sends a request until it is answered, or until `deadline`. Returns the position of its record. `device` is the device of a
    /// command.
    pub(crate) async fn send(
        &self,
        request: Request,
        device: Option<&str>,
        deadline: Instant,
    ) -> Option<schemas::receipt::RawPosition> {
        let request = Arc::new(request);
        loop {
            self.log().count_attempt(&request);
            self.open.fetch_add(1, Ordering::Relaxed);
            let answer = self.attempt(&request).await;
            self.open.fetch_sub(1, Ordering::Relaxed);
            match answer.unwrap_or(Answer::Repeat) {
                Answer::Receipts(receipts) => {
                    let mut log = self.log();
                    log.add(&request, device, &receipts);
                    return log.obligations.last().map(|obligation| obligation.position);
                }
                Answer::Refused(status) => {
                    let complaint = format!("a request to {} is answered {status}", request.path);
                    self.log().complaints.push(complaint);
                    return None;
                }
                Answer::NotAReceipt => {
                    self.log().complaints.push(format!("an answer of {} contains no receipt", request.path));
                    return None;
                }
                Answer::Repeat if Instant::now() > deadline => return None,
                Answer::Repeat => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn attempt(&self, request: &Request) -> reqwest::Result<Answer> {
        let turn = self.next_url.fetch_add(1, Ordering::Relaxed);
        let url = turn.checked_rem(self.urls.len()).and_then(|index| self.urls.get(index));
        let mut sent = self
            .client
            .post(format!("{}{}", url.map_or("", String::as_str), request.path))
            .header("X-API-Key", &self.api_key)
            .header("X-Correlation-ID", &request.correlation_id)
            .header(CONTENT_TYPE, request.content_type)
            .body(request.sent_body());
        if request.is_compressed {
            sent = sent.header("Content-Encoding", "gzip");
        }
        self.read(sent.send().await?).await
    }

    async fn read(&self, response: Response) -> reqwest::Result<Answer> {
        let status = response.status();
        if status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status) {
            return Ok(Answer::Repeat);
        }
        let in_header = response.headers().get("receipt").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let words = match (in_header, status.is_success()) {
            (Some(word), true) => vec![word],
            (None, true) => match response.json().await? {
                Accepted::Items(ids) => ids.into_iter().map(|id| id.id).collect(),
                Accepted::One(id) => vec![id.id],
            },
            (_, false) => match response.json::<Problem>().await?.receipt {
                Some(word) => vec![word],
                None => return Ok(Answer::Refused(status)),
            },
        };
        let receipts: Result<Vec<_>, _> = words.iter().map(|word| self.receipt_key.read(word)).collect();
        Ok(receipts.map_or(Answer::NotAReceipt, Answer::Receipts))
    }
}
