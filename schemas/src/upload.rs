//! Large uploads: a body that is too large for one record is written as chunks and a final manifest, all in one partition. The
//! header `upload` of each record names the upload and the part.

use uuid::Uuid;

/// The length of a chunk in bytes; the last chunk may be shorter.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// The part of an upload that a record contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadPart {
    /// The bytes from `number * CHUNK_BYTES` on.
    Chunk {
        /// The number of the chunk, from 0.
        number: u32,
    },
    /// The end of the upload. Without it the chunks are not used. The value of the record is empty, and its content hash is that of
    /// the whole body.
    Manifest {
        /// The number of chunks.
        chunks: u32,
        /// The number of bytes in all chunks.
        bytes: u64,
        /// The offset of the first chunk.
        first: i64,
    },
}

/// The header `upload`: `ID;chunk=3`, or `ID;chunks=12;bytes=6291000;first=4711`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    id: Uuid,
    part: UploadPart,
    text: String,
}

impl Upload {
    /// Creates the header of a record of the upload `id`.
    #[must_use]
    pub fn new(id: Uuid, part: UploadPart) -> Self {
        let text = match part {
            UploadPart::Chunk { number } => format!("{id};chunk={number}"),
            UploadPart::Manifest { chunks, bytes, first } => {
                format!("{id};chunks={chunks};bytes={bytes};first={first}")
            }
        };
        Self { id, part, text }
    }

    /// Parses the header; `None` when it does not have the form that [`Upload::as_str`] returns.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(';');
        let id = words.next()?.parse().ok()?;
        let mut number = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        let part = if text.contains(";chunk=") {
            UploadPart::Chunk { number: number("chunk")?.parse().ok()? }
        } else {
            UploadPart::Manifest {
                chunks: number("chunks")?.parse().ok()?,
                bytes: number("bytes")?.parse().ok()?,
                first: number("first")?.parse().ok()?,
            }
        };
        words.next().is_none().then(|| Self::new(id, part))
    }

    /// Returns the id of the upload.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Returns the part of the upload.
    #[must_use]
    pub fn part(&self) -> UploadPart {
        self.part
    }

    /// Returns the value of the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_header_is_read_as_it_was_written() {
        let id = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
        for part in
            [UploadPart::Chunk { number: 3 }, UploadPart::Manifest { chunks: 12, bytes: 6_291_000, first: 4711 }]
        {
            let upload = Upload::new(id, part);
            assert_eq!(Upload::parse(upload.as_str()), Some(upload));
        }
        let text = format!("{id}");
        for broken in ["", "x;chunk=1", &text, &format!("{text};chunk=-1"), &format!("{text};chunk=1;x=2")] {
            assert_eq!(Upload::parse(broken), None, "{broken}");
        }
        assert_eq!(Upload::parse(&format!("{text};chunks=1;bytes=2")), None);
    }
}
