//! Splits a body into chunks and checks it while it is received. Memory use does not depend on the size of the body. Runs on a
//! blocking thread.

use std::io::{self, BufRead, Read};

use axum::body::Bytes;
use schemas::{
    content::{ContentHash, ContentHasher, ContentKey},
    format::Format,
    limit::TOKEN_BYTES_MAX,
    upload::CHUNK_BYTES,
};
use service::{capped::read_buffered, http::coding::Coding};
use tokio::sync::mpsc;

use crate::wellformed::{Malformed, shape, xml};

/// A part of the body, with its keyed hash.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) hash: ContentHash,
}

/// The channel to which chunks are sent, and the key of their hashes.
pub(super) struct ChunkOutput {
    pub(super) chunks: mpsc::Sender<Chunk>,
    pub(super) key: ContentKey,
}

/// The result of reading a body to its end.
pub(super) struct Whole {
    /// The whole body if it fits into one chunk. Then no chunk has been sent.
    pub(super) only: Option<Bytes>,
    pub(super) bytes: u64,
    pub(super) hash: ContentHash,
    /// Whether it is well-formed.
    pub(super) checked: Result<(), Malformed>,
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadError {
    /// The client disconnected.
    Disconnected,
    /// The body has more bytes than allowed.
    TooLarge,
    /// The receiver of the chunks was dropped.
    ReceiverDropped,
}

/// Splits `frames` into chunks and sends them. A body that fits into one chunk is not sent but returned. If its content coding
/// cannot be decoded, it is returned as it was sent.
pub(super) fn split(
    coding: Coding,
    frames: mpsc::Receiver<Option<Bytes>>,
    output: &ChunkOutput,
    bytes_max: u64,
) -> Result<Whole, ReadError> {
    let mut frames = Frames { frames, current: Bytes::new(), ended: false, sent: Vec::new() };
    let mut whole = split_and_check(coding, &mut frames, output, bytes_max)?;
    if whole.checked == Err(Malformed::Coding) && whole.only.is_some() {
        frames.read_to_end().map_err(|_| ReadError::Disconnected)?;
        let sent = Bytes::from(frames.sent);
        (whole.bytes, whole.hash) = (sent.len() as u64, output.key.hash(&sent));
        whole.only = Some(sent);
    }
    Ok(whole)
}

fn split_and_check(
    coding: Coding,
    frames: &mut Frames,
    output: &ChunkOutput,
    bytes_max: u64,
) -> Result<Whole, ReadError> {
    let decoder = coding.decoder(frames).map_err(|_| ReadError::Disconnected)?;
    let mut chunker = Chunker {
        decoder,
        output,
        chunk: Bytes::new(),
        at: 0,
        pending: None,
        bytes: 0,
        hasher: output.key.hasher(),
        bytes_max,
        read_error: None,
        undecodable: false,
    };
    let checked = xml::check(&mut chunker, true, TOKEN_BYTES_MAX).and_then(|root| shape::xml(Format::ExportXml, root));
    // A malformed body is stored all the same, so the rest is read without being checked.
    loop {
        let length = match chunker.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => bytes.len(),
            Err(_) => return Err(chunker.read_error.unwrap_or(ReadError::Disconnected)),
        };
        chunker.consume(length);
    }
    chunker.finish(checked)
}

/// A reader of a request's frames. A `None` marks the end of the body; a channel that is closed without it means that the
/// client disconnected.
struct Frames {
    frames: mpsc::Receiver<Option<Bytes>>,
    current: Bytes,
    ended: bool,
    /// The first [`CHUNK_BYTES`] as they were sent.
    sent: Vec<u8>,
}

impl Frames {
    fn fill_current(&mut self) -> io::Result<()> {
        while self.current.is_empty() && !self.ended {
            match self.frames.blocking_recv() {
                Some(Some(frame)) => {
                    let room = CHUNK_BYTES - self.sent.len();
                    self.sent.extend(frame.iter().take(room));
                    self.current = frame;
                }
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(())
    }

    fn read_to_end(&mut self) -> io::Result<()> {
        while !self.ended {
            self.current = Bytes::new();
            self.fill_current()?;
        }
        Ok(())
    }
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill_current()?;
        let taken = self.current.split_to(self.current.len().min(buffer.len()));
        let (head, _) = buffer.split_at_mut(taken.len());
        head.copy_from_slice(&taken);
        Ok(taken.len())
    }
}

/// Reads the decoded body chunk by chunk. Holds the first chunk back until a second one follows; sends all later chunks at
/// once.
struct Chunker<'d> {
    decoder: Box<dyn Read + 'd>,
    output: &'d ChunkOutput,
    chunk: Bytes,
    at: usize,
    /// The first chunk, while no second chunk has been read.
    pending: Option<Bytes>,
    bytes: u64,
    hasher: ContentHasher,
    bytes_max: u64,
    read_error: Option<ReadError>,
    undecodable: bool,
}

impl Chunker<'_> {
    fn next_chunk(&mut self) -> io::Result<()> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut limited = (&mut self.decoder).take(CHUNK_BYTES as u64);
        match limited.read_to_end(&mut chunk) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                return Err(self.fail(ReadError::Disconnected));
            }
            // The bytes decoded so far are stored; the rest is not usable.
            Err(_) => self.undecodable = true,
        }
        if chunk.is_empty() {
            return Ok(());
        }
        self.bytes += chunk.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(self.fail(ReadError::TooLarge));
        }
        self.hasher.update(&chunk);
        let chunk = Bytes::from(chunk);
        let is_first = self.bytes == chunk.len() as u64;
        self.chunk = chunk.clone();
        self.at = 0;
        if is_first {
            self.pending = Some(chunk);
            return Ok(());
        }
        if let Some(first) = self.pending.take() {
            self.send_chunk(first)?;
        }
        self.send_chunk(chunk)
    }

    fn send_chunk(&mut self, bytes: Bytes) -> io::Result<()> {
        let hash = self.output.key.hash(&bytes);
        self.output.chunks.blocking_send(Chunk { bytes, hash }).map_err(|_| self.fail(ReadError::ReceiverDropped))
    }

    fn fail(&mut self, why: ReadError) -> io::Error {
        self.read_error = Some(why);
        io::ErrorKind::ConnectionAborted.into()
    }

    fn finish(self, checked: Result<(), Malformed>) -> Result<Whole, ReadError> {
        if let Some(read_error) = self.read_error {
            return Err(read_error);
        }
        let checked = match checked {
            _ if self.undecodable => Err(Malformed::Coding),
            _ if self.bytes == 0 => Err(Malformed::Empty),
            checked => checked,
        };
        let only = if self.bytes == 0 { Some(Bytes::new()) } else { self.pending };
        Ok(Whole { only, bytes: self.bytes, hash: self.hasher.finish(), checked })
    }
}

impl Read for Chunker<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl BufRead for Chunker<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read_error.is_some() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.at >= self.chunk.len() && !self.undecodable {
            self.chunk = Bytes::new();
            self.next_chunk()?;
        }
        Ok(self.chunk.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}
