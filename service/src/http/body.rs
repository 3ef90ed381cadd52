//! Reads a request's body within limits on size and time, and decodes its content coding within the same size limit.

use std::{
    io::{self, Read},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap,
        header::{CONTENT_LENGTH, EXPECT},
    },
};
use bytes::BytesMut;
use http_body_util::BodyExt;

use super::coding::Coding;

/// How many bytes of a refused body are still read, so that the client receives the response instead of a connection reset.
const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// A body as it was received.
pub struct Received {
    /// The decoded bytes, or the bytes as sent if they could not be decoded.
    pub bytes: Bytes,
    /// Whether the content coding was decoded successfully.
    pub decoded: bool,
}

/// The limits of a request body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The largest size in bytes, before and after decoding.
    pub bytes_max: usize,
    /// How long a client may take to send the body.
    pub time_max: Duration,
}

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The content coding is unknown, or several codings are combined.
    #[error("the content coding is not supported")]
    Coding,
    /// The body is larger than the limit in bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    Timeout,
    /// The client closed the connection before the end of the body, or the framing is invalid.
    #[error("the body ended early or its framing is invalid")]
    Incomplete,
}

/// Reads the whole body.
///
/// # Errors
/// [`BodyError`], after the rest of the body has been discarded.
pub async fn read(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Received, BodyError> {
    let coding = match Coding::of(headers) {
        Some(_) if content_length_exceeds(headers, limits.bytes_max as u64) => {
            Err(BodyError::TooLarge(limits.bytes_max))
        }
        coding => coding.ok_or(BodyError::Coding),
    };
    let (coding, body) = discard_if_refused(coding, headers, body).await?;
    let bytes = tokio::time::timeout(limits.time_max, collect(body, limits.bytes_max))
        .await
        .unwrap_or(Err(BodyError::Timeout))?;
    if coding == Coding::Identity {
        return Ok(Received { bytes, decoded: true });
    }
    match inflate(coding, &bytes, limits.bytes_max) {
        Ok(inflated) if inflated.len() > limits.bytes_max => Err(BodyError::TooLarge(limits.bytes_max)),
        Ok(inflated) => Ok(Received { bytes: inflated.into(), decoded: true }),
        Err(_) => Ok(Received { bytes, decoded: false }),
    }
}

/// Returns the body together with the decision on the request head. If the head was refused, discards the body.
///
/// # Errors
/// The refusal, after the body has been discarded.
pub async fn discard_if_refused<T, E>(decided: Result<T, E>, headers: &HeaderMap, body: Body) -> Result<(T, Body), E> {
    match decided {
        Ok(head) => Ok((head, body)),
        Err(refusal) => {
            discard(headers, body).await;
            Err(refusal)
        }
    }
}

/// Reads and discards a refused body, within limits. A client that sent `Expect: 100-continue` has not sent the body yet, so
/// nothing is read.
pub async fn discard(headers: &HeaderMap, body: Body) {
    if !headers.contains_key(EXPECT) {
        drain(body).await;
    }
}

/// Reads and discards the body up to `DRAIN_BYTES_MAX` and `DRAIN_TIME_MAX`.
pub async fn drain(mut body: Body) {
    let read = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = rest;
        }
    };
    let _whole_or_not = tokio::time::timeout(DRAIN_TIME_MAX, read).await;
}

/// Returns whether `Content-Length` is larger than `bytes_max`.
#[must_use]
pub fn content_length_exceeds(headers: &HeaderMap, bytes_max: u64) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > bytes_max)
}

/// Collects the data frames. A body of a single frame, such as a small body, is not copied.
async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > bytes_max {
            drain(body).await;
            return Err(BodyError::TooLarge(bytes_max));
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// Decodes the body; stops one byte above the limit.
fn inflate(coding: Coding, bytes: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    coding.decoder(bytes)?.take(bytes_max as u64 + 1).read_to_end(&mut inflated)?;
    Ok(inflated)
}
