//! The supported content codings (RFC 9110, section 8.4; RFC 8878).

use std::io::{self, Read};

use axum::http::{HeaderMap, header::CONTENT_ENCODING};

/// The largest window that a zstd frame may require: 8 MiB, the size that RFC 8878 recommends every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The content coding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// No coding.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// zlib (RFC 1950), or a raw deflate stream (RFC 1951).
    Deflate,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Coding {
    /// Returns the coding that the headers name; `None` if it is unknown or if several codings are combined.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Some(Self::Identity) };
        if values.next().is_some() {
            return None;
        }
        match value.to_str().ok()?.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns a reader that decodes `input`.
    ///
    /// # Errors
    /// The errors of `input`, and a failure to create a zstd decoder.
    pub fn decoder<'r>(self, mut input: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::Identity => Box::new(input),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
            Self::Deflate => {
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
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// Returns whether the bytes start with a zlib header. `deflate` means zlib in RFC 9110, but some senders send a raw deflate
/// stream.
fn has_zlib_header(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31),
        _ => false,
    }
}
