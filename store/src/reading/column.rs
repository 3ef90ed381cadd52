//! What a column of `readings` is made of.

use schemas::{event::Reading, version::Version};
use sqlx::{Decode, Postgres, Row as _, Type, postgres::PgRow};

use super::{draft::Draft, unreadable::unknown_word, value::Cells};
use crate::{comment::meaning::Meaning, copy::Tuple};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uuid,
    /// `timestamptz`; read back as microseconds since 1970-01-01T00:00:00Z.
    Time,
    Long,
    Int,
    Short,
    Text,
    Texts,
    /// Read back as text: there is no other type that keeps it exactly.
    Numeric,
    /// `jsonb`, read back as text.
    Json,
    /// An enum of the database, read back as text.
    Word(&'static str),
}

impl Kind {
    /// The type as Postgres names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Time => "timestamp with time zone",
            Self::Long => "bigint",
            Self::Int => "integer",
            Self::Short => "smallint",
            Self::Text => "text",
            Self::Texts => "text[]",
            Self::Numeric => "numeric",
            Self::Json => "jsonb",
            Self::Word(name) => name,
        }
    }
}

/// Where the numbers of dictionary entries belong in an encoded row.
#[derive(Default)]
pub struct Places {
    /// Of the code, as a bigint.
    pub code: usize,
    /// Of the device, as a bigint.
    pub device: Option<usize>,
    /// Of the gateway, as a bigint.
    pub gateway: Option<usize>,
    /// Of the codes in the JSON of the components, in their order: as many bytes as [`padded`](super::padded) gives.
    pub parts: Vec<usize>,
}

/// What is written into one row.
pub(super) struct Written<'a> {
    pub(super) reading: &'a Reading,
    pub(super) version: Version,
    pub(super) mac: i64,
    pub(super) cells: Cells<'a>,
}

type Write = fn(&mut Tuple<'_>, &Written<'_>, &mut Places);
type Read = fn(&mut Draft, Cell<'_>) -> Result<(), sqlx::Error>;

/// One column.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The comment on the column in the database.
    pub(super) meaning: Meaning,
    pub(super) write: Write,
    pub(super) read: Read,
}

/// One column of a row that is read back.
#[derive(Clone, Copy)]
pub(super) struct Cell<'r>(pub(super) &'r PgRow, pub(super) usize);

impl<'r> Cell<'r> {
    pub(super) fn get<T: Decode<'r, Postgres> + Type<Postgres>>(self) -> Result<T, sqlx::Error> {
        self.0.try_get(self.1)
    }

    pub(super) fn word<T>(self, read: impl Fn(&str) -> Option<T>) -> Result<T, sqlx::Error> {
        read(self.get()?).ok_or_else(unknown_word)
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(self) -> Result<Option<T>, sqlx::Error> {
        let text: Option<&str> = self.get()?;
        text.map(serde_json::from_str).transpose().map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

pub(super) const fn column(name: &'static str, kind: Kind, meaning: Meaning, write: Write, read: Read) -> Column {
    Column { name, kind, meaning, write, read }
}
