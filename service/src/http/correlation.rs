//! The correlation id, by which a client and an operator speak of the same request.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};

const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// A request's correlation id.
pub struct CorrelationId(HeaderValue);

impl CorrelationId {
    /// The sender's, when it has 1 to 128 visible ASCII characters; else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let usable = headers.get(CORRELATION_ID).filter(|value| {
            let bytes = value.as_bytes();
            (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        });
        Self(usable.cloned().unwrap_or_else(|| {
            // The thread's generator: asking the operating system for each request would cost a system call.
            let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
            HeaderValue::from_str(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
                .unwrap_or(HeaderValue::from_static("-"))
        }))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }

    /// Sets the id in the headers of the answer.
    pub fn add_to(self, response: &mut Response) {
        response.headers_mut().insert(CORRELATION_ID, self.0);
    }
}
