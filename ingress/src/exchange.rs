//! One request and its answer: counted, and known by a correlation id.
//!
//! A value that each endpoint makes and answers with, not a middleware layer: axum boxes and moves the future of every layer, on the
//! way of every request.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use metrics::Gauge;

use crate::state::{AppState, Shared};

const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// What an endpoint has of its request beside the request itself.
pub(crate) struct Exchange<'s> {
    pub(crate) shared: &'s Shared,
    pub(crate) correlation_id: CorrelationId,
    _in_flight: InFlight<'s>,
}

impl<'s> Exchange<'s> {
    pub(crate) fn begin(state: &'s AppState, headers: &HeaderMap) -> Self {
        let shared = state.shared();
        shared.meters.requests.increment(1);
        Self {
            shared,
            correlation_id: CorrelationId::of(headers.get(CORRELATION_ID)),
            _in_flight: InFlight::begin(&shared.meters.in_flight),
        }
    }

    pub(crate) fn answer(self, with: impl IntoResponse) -> Response {
        let mut response = with.into_response();
        response.headers_mut().insert(CORRELATION_ID, self.correlation_id.0);
        response
    }
}

/// Counts down also when the client goes away and the request is dropped.
struct InFlight<'s>(&'s Gauge);

impl<'s> InFlight<'s> {
    fn begin(gauge: &'s Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// The request's correlation id, as it goes into the raw record and back to the client.
pub(crate) struct CorrelationId(HeaderValue);

impl CorrelationId {
    /// The sender's, when it has 1 to 128 visible ASCII characters; else a new one.
    fn of(sent: Option<&HeaderValue>) -> Self {
        let sane = sent.filter(|value| {
            let bytes = value.as_bytes();
            (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        });
        Self(sane.cloned().unwrap_or_else(|| {
            // The thread's generator: asking the operating system for each request would cost a system call.
            let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
            HeaderValue::from_str(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
                .unwrap_or(HeaderValue::from_static("-"))
        }))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }
}
