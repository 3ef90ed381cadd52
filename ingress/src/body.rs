//! Reading a request's body under caps of size and time, and undoing its content coding under the same cap.

use std::{
    io::{self, Read},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT},
    },
};
use bytes::BytesMut;
use http_body_util::BodyExt;

use crate::refusal::Refusal;

/// How much of a refused body is still read, so that the client gets to see the answer instead of a reset connection.
const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);
/// The largest window a zstd frame may ask for: 8 MiB, what RFC 8878 tells every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A body as it is kept.
pub(crate) struct Received {
    /// The bytes: decoded, or as sent when the coding could not be undone.
    pub(crate) bytes: Bytes,
    /// Whether the content coding could be undone.
    pub(crate) decoded: bool,
}

/// The caps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes_max: usize,
    pub(crate) time_max: Duration,
}

/// The content codings that are undone (RFC 9110, section 8.4; RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

/// Reads the whole body.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limits: Limits) -> Result<Received, Refusal> {
    let coding = match coding(headers) {
        Ok(_) if announces_more(headers, limits.bytes_max as u64) => Err(Refusal::TooLarge(limits.bytes_max)),
        decided => decided,
    };
    let (coding, body) = admitted(coding, headers, body).await?;
    let bytes = tokio::time::timeout(limits.time_max, collect(body, limits.bytes_max))
        .await
        .unwrap_or(Err(Refusal::BodyTimeout))?;
    if coding == Coding::Identity {
        return Ok(Received { bytes, decoded: true });
    }
    match inflate(coding, &bytes, limits.bytes_max) {
        Ok(inflated) if inflated.len() > limits.bytes_max => Err(Refusal::TooLarge(limits.bytes_max)),
        Ok(inflated) => Ok(Received { bytes: inflated.into(), decoded: true }),
        Err(_) => Ok(Received { bytes, decoded: false }),
    }
}

/// Goes on with the body of a request whose head is admitted; that of any other is discarded.
pub(crate) async fn admitted<T>(
    decided: Result<T, Refusal>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(T, Body), Refusal> {
    match decided {
        Ok(head) => Ok((head, body)),
        Err(refusal) => {
            discard(headers, body).await;
            Err(refusal)
        }
    }
}

/// Reads a refused body on for a bounded while. A client that asked first whether to send it (`Expect`) is not told to.
pub(crate) async fn discard(headers: &HeaderMap, body: Body) {
    if !headers.contains_key(EXPECT) {
        drain(body).await;
    }
}

/// Reads on for a bounded while.
pub(crate) async fn drain(mut body: Body) {
    let read = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = rest;
        }
    };
    let _whole_or_not = tokio::time::timeout(DRAIN_TIME_MAX, read).await;
}

pub(crate) fn announces_more(headers: &HeaderMap, bytes_max: u64) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > bytes_max)
}

pub(crate) fn coding(headers: &HeaderMap) -> Result<Coding, Refusal> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(CONTENT_ENCODING) { Err(Refusal::ContentCoding) } else { Ok(Coding::Identity) };
    };
    let word = value.to_str().map_err(|_| Refusal::ContentCoding)?.trim();
    match word.to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Coding::Identity),
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        "deflate" => Ok(Coding::Deflate),
        "zstd" => Ok(Coding::Zstd),
        _ => Err(Refusal::ContentCoding),
    }
}

/// Collects the frames; one that comes alone, as a small body does, is not copied.
async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BodyBrokenOff)?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > bytes_max {
            drain(body).await;
            return Err(Refusal::TooLarge(bytes_max));
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

/// Undoes the coding; stops at one byte above the cap.
fn inflate(coding: Coding, bytes: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    decoder(coding, bytes)?.take(bytes_max as u64 + 1).read_to_end(&mut inflated)?;
    Ok(inflated)
}

/// Undoes the coding while it is read.
pub(crate) fn decoder<'r>(coding: Coding, mut input: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match coding {
        Coding::Identity => Box::new(input),
        Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Coding::Deflate => {
            let mut head = Vec::new();
            input.by_ref().take(2).read_to_end(&mut head)?;
            let has_zlib_header = has_zlib_header(&head);
            let input = io::Cursor::new(head).chain(input);
            if has_zlib_header {
                Box::new(flate2::read::ZlibDecoder::new(input))
            } else {
                Box::new(flate2::read::DeflateDecoder::new(input))
            }
        }
        Coding::Zstd => {
            let mut decoder = zstd::Decoder::new(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// RFC 9110 means zlib by `deflate`; some senders send the bare stream.
fn has_zlib_header(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31),
        _ => false,
    }
}
