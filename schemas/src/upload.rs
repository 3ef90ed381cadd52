//! A body that is too large for one record: its chunks and the manifest that closes it, all in one partition. The header `upload`
//! of each record says which it is.

use uuid::Uuid;

/// A chunk has this many bytes, the last one fewer.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// What a record is to an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The bytes at `number * CHUNK_BYTES`.
    Chunk {
        /// Counted from 0.
        number: u32,
    },
    /// The end: without it, the chunks come to nothing. Its value is empty, and its content hash is that of the whole body.
    Manifest {
        /// How many chunks there are.
        chunks: u32,
        /// How many bytes they have.
        bytes: u64,
        /// The offset of the first chunk.
        first: i64,
    },
}

/// The header `upload`: `ID;chunk=3`, or `ID;chunks=12;bytes=6291000;first=4711`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    id: Uuid,
    part: Part,
    text: String,
}

impl Upload {
    /// A record of the upload `id`.
    #[must_use]
    pub fn new(id: Uuid, part: Part) -> Self {
        let text = match part {
            Part::Chunk { number } => format!("{id};chunk={number}"),
            Part::Manifest { chunks, bytes, first } => format!("{id};chunks={chunks};bytes={bytes};first={first}"),
        };
        Self { id, part, text }
    }

    /// Reads the header; none where it is not of the form that [`Upload::as_str`] has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(';');
        let id = words.next()?.parse().ok()?;
        let mut number = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        let part = if text.contains(";chunk=") {
            Part::Chunk { number: number("chunk")?.parse().ok()? }
        } else {
            Part::Manifest {
                chunks: number("chunks")?.parse().ok()?,
                bytes: number("bytes")?.parse().ok()?,
                first: number("first")?.parse().ok()?,
            }
        };
        words.next().is_none().then(|| Self::new(id, part))
    }

    /// Which upload.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Which part of it.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// The header's value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_was_written() {
        let id = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
        for part in [Part::Chunk { number: 3 }, Part::Manifest { chunks: 12, bytes: 6_291_000, first: 4711 }] {
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
