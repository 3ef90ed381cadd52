//! The correlation id, which identifies one request to both the client and the operator.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};

const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// A request's correlation id.
pub struct CorrelationId(HeaderValue);

impl CorrelationId {
    /// Returns the sender's id if it has 1 to 128 visible ASCII characters, otherwise a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let usable = headers.get(CORRELATION_ID).filter(|value| {
            let bytes = value.as_bytes();
            (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        });
        Self(usable.cloned().unwrap_or_else(|| {
            // Uses the thread's generator: asking the operating system would cost a system call for each request.
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

    /// Sets the id in the headers of the response.
    pub fn add_to(self, response: &mut Response) {
        response.headers_mut().insert(CORRELATION_ID, self.0);
    }
}
