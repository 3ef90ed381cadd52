//! The content codings that are undone (RFC 9110, section 8.4; RFC 8878).

use std::io::{self, Read};

use axum::http::{HeaderMap, header::CONTENT_ENCODING};

/// The largest window a zstd frame may ask for: 8 MiB, what RFC 8878 tells every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// zlib (RFC 1950), or the bare stream (RFC 1951).
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// The coding that the headers name; none where it is unknown, or where several are stacked.
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

    /// Undoes the coding while `input` is read.
    ///
    /// # Errors
    /// Those of `input`, and of a zstd decoder that cannot be made.
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

/// RFC 9110 means zlib by `deflate`; some senders send the bare stream.
fn has_zlib_header(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31),
        _ => false,
    }
}
