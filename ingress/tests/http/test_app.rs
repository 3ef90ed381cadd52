//! The HTTP application on a fake raw log.

use std::{
    num::NonZeroU16,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt;
use ingress::{
    AppState, IngressConfig, SecretKeys, app,
    keys::{self, KeyRing, NewKey, Scope},
    raw_log::{Acknowledgement, AppendError, Appended, Destination, RawAppend, RawLog},
};
use schemas::{
    content::ContentKey,
    format::RawTopic,
    raw::Headers,
    receipt::{ItemPosition, ReceiptKey},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tower::ServiceExt;

/// The smallest Medisanté message that is accepted.
pub(crate) const MESSAGE: &str = "{\"measurements\":{}}";
/// The number of partitions of each topic of the fake log; larger than the number of bodies in a test.
const PARTITIONS: u16 = 1_000;
/// The partition to which the fake log assigns records with a key.
pub(crate) const KEYED_PARTITION: i32 = 1_000;

/// How the fake log handles a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogBehaviour {
    Stores,
    /// Acknowledges each record but does not store it.
    Discards,
    /// Stores all records except this one, counted from 0.
    RejectsOne(usize),
    /// Stores all records, but reports the number of partitions as unknown.
    PartitionsUnknown,
    QueueFull,
    Rejects,
    NeverAcknowledges,
    DropsAcknowledgement,
    /// Acknowledges each record after this time, but does not store it.
    AcknowledgesAfter(Duration),
}

pub(crate) struct Recorded {
    pub(crate) topic: RawTopic,
    /// The key, if the record has one.
    pub(crate) key: Option<String>,
    /// The partition, if the record has no key.
    pub(crate) partition: Option<i32>,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

/// A fake of Kafka: stores records in memory, or fails as its [`LogBehaviour`] says.
pub(crate) struct RecordingLog {
    behaviour: LogBehaviour,
    appended_count: AtomicUsize,
    next: AtomicI64,
    pub(crate) records: Mutex<Vec<Recorded>>,
    unanswered: Mutex<Vec<oneshot::Sender<Result<Appended, AppendError>>>>,
    unanswered_now: Arc<AtomicUsize>,
    /// How many records waited for a late acknowledgement at once.
    pub(crate) unanswered_max: AtomicUsize,
}

impl RawLog for RecordingLog {
    fn append(&self, record: &RawAppend<'_>) -> Result<Acknowledgement, AppendError> {
        let (responder, acknowledgement) = oneshot::channel();
        let appended_count = self.appended_count.fetch_add(1, Ordering::Relaxed);
        let (key, partition) = match record.destination {
            Destination::Key(key) => (Some(key.to_owned()), None),
            Destination::Partition(partition) => (None, Some(partition)),
        };
        let appended = |offset| Appended { partition: partition.unwrap_or(KEYED_PARTITION), offset };
        match self.behaviour {
            LogBehaviour::QueueFull => return Err(AppendError::QueueFull),
            LogBehaviour::RejectsOne(number) if number == appended_count => {
                let _gone = responder.send(Err(AppendError::NotAcknowledged(None)));
            }
            LogBehaviour::Rejects => {
                let _gone = responder.send(Err(AppendError::NotAcknowledged(None)));
            }
            LogBehaviour::NeverAcknowledges => self.unanswered.lock().unwrap().push(responder),
            LogBehaviour::DropsAcknowledgement => drop(responder),
            LogBehaviour::AcknowledgesAfter(time) => {
                let unanswered = self.unanswered_now.clone();
                self.unanswered_max.fetch_max(unanswered.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let appended = appended(0);
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    unanswered.fetch_sub(1, Ordering::SeqCst);
                    let _gone = responder.send(Ok(appended));
                });
            }
            LogBehaviour::Discards => {
                let _gone = responder.send(Ok(appended(0)));
            }
            LogBehaviour::Stores | LogBehaviour::PartitionsUnknown | LogBehaviour::RejectsOne(_) => {
                self.records.lock().unwrap().push(Recorded {
                    topic: record.topic,
                    key,
                    partition,
                    headers: record.headers.clone(),
                    body: record.body.to_vec(),
                });
                let offset = self.next.fetch_add(1, Ordering::Relaxed);
                let _gone = responder.send(Ok(appended(offset)));
            }
        }
        Ok(acknowledgement)
    }

    fn partitions(&self, _: RawTopic) -> Option<NonZeroU16> {
        if matches!(self.behaviour, LogBehaviour::PartitionsUnknown) { None } else { NonZeroU16::new(PARTITIONS) }
    }
}

/// Returns the partition of a payload.
pub(crate) fn partition(body: &[u8]) -> i32 {
    content_key().hash(body).partition(NonZeroU16::new(PARTITIONS).unwrap())
}

pub(crate) struct TestApp {
    pub(crate) app: Router,
    pub(crate) log: Arc<RecordingLog>,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) keys_file: PathBuf,
    pub(crate) key: String,
    pub(crate) config: IngressConfig,
    directory: TempDir,
}

pub(crate) fn receipt_key() -> ReceiptKey {
    ReceiptKey::new(&[7; 32]).unwrap()
}

pub(crate) fn content_key() -> ContentKey {
    ContentKey::derive(&[7; 32]).unwrap()
}

pub(crate) fn new_key(source: &str) -> NewKey {
    NewKey {
        id: None,
        source: source.to_owned(),
        scopes: vec![Scope::HealthDataWrite, Scope::DevicesWrite],
        providers: None,
        defaults: None,
        not_before: None,
        expires_at: None,
    }
}

impl TestApp {
    pub(crate) fn new() -> Self {
        Self::with(LogBehaviour::Stores, |_| {})
    }

    pub(crate) fn with(behaviour: LogBehaviour, change: impl FnOnce(&mut IngressConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys_file = directory.path().join("keys.json");
        let (_, secret) = keys::create(&keys_file, new_key("portal")).unwrap();
        let keys = Arc::new(KeyRing::open(&keys_file).unwrap());
        let log = Arc::new(RecordingLog {
            behaviour,
            appended_count: AtomicUsize::new(0),
            next: AtomicI64::new(40),
            records: Mutex::default(),
            unanswered: Mutex::default(),
            unanswered_now: Arc::default(),
            unanswered_max: AtomicUsize::new(0),
        });
        let mut config = IngressConfig::new(keys_file.clone(), directory.path().join("receipt.key"));
        change(&mut config);
        let state = AppState::new(Arc::clone(&keys), log.clone(), SecretKeys::derive(&[7; 32]).unwrap(), &config);
        Self { app: app(state), log, keys, keys_file, key: secret.reveal().to_owned(), config, directory }
    }

    /// Starts a request with the test app's key.
    pub(crate) fn post(&self, path: &str) -> Post {
        Post { app: self.app.clone(), request: Request::post(path).header("x-api-key", &self.key) }
    }

    pub(crate) fn bare(&self, path: &str) -> Post {
        Post { app: self.app.clone(), request: Request::post(path) }
    }

    /// Creates a further key and makes the application reload the keys.
    pub(crate) fn key(&self, new: NewKey) -> String {
        let (_, secret) = keys::create(&self.keys_file, new).unwrap();
        self.keys.refresh().unwrap();
        secret.reveal().to_owned()
    }

    pub(crate) fn stored(&self) -> usize {
        self.log.records.lock().unwrap().len()
    }

    pub(crate) fn last<T>(&self, read: impl FnOnce(&Recorded) -> T) -> T {
        read(self.log.records.lock().unwrap().last().unwrap())
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

pub(crate) struct Post {
    app: Router,
    request: axum::http::request::Builder,
}

impl Post {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn json(self) -> Self {
        self.header("content-type", "application/json")
    }

    pub(crate) async fn send(self, body: impl Into<Body>) -> Answer {
        Answer::of(self.app, self.request.body(body.into()).unwrap()).await
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn of(app: Router, request: Request<Body>) -> Self {
        let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that the response is a complete problem document with this status, and returns its word.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["statusCode"], status.to_string());
        for member in ["title", "detail", "error", "message"] {
            assert!(!problem[member].as_str().unwrap().is_empty(), "{member}");
        }
        problem["type"].as_str().unwrap().strip_prefix("urn:device-manager:problem:").unwrap().to_owned()
    }

    pub(crate) fn position(&self) -> ItemPosition {
        receipt_key().read(self.json()["_id"].as_str().unwrap()).unwrap()
    }

    /// Returns the faults that the problem document lists, each as location and name: `body name`.
    pub(crate) fn faults(&self) -> Vec<String> {
        let text = |fault: &Value, member: &str| fault[member].as_str().unwrap_or("-").to_owned();
        let problem = self.json();
        let detail = text(&problem, "detail");
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        assert!(errors.iter().all(|fault| detail.contains(&text(fault, "detail"))), "{problem}");
        errors.iter().map(|fault| format!("{} {}", text(fault, "in"), text(fault, "name"))).collect()
    }

    /// Returns the command's receipt from the header.
    pub(crate) fn command_receipt(&self) -> ItemPosition {
        receipt_key().read(self.headers["receipt"].to_str().unwrap()).unwrap()
    }

    pub(crate) fn receipt(&self) -> ItemPosition {
        receipt_key().read(self.json()["receipt"].as_str().unwrap()).unwrap()
    }
}

pub(crate) fn content_hmac(body: &[u8]) -> String {
    content_key().hash(body).to_hex()
}
