//! The parts of the definition of a column of `readings`.

use schemas::{event::Reading, version::Version};
use sqlx::{Decode, Postgres, Row as _, Type, postgres::PgRow};

use super::{draft::Draft, unreadable::unknown_word, value::Cells};
use crate::{comment::source::CommentSource, copy::Tuple};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    Uuid,
    Boolean,
    /// `timestamptz`; read back as microseconds since 1970-01-01T00:00:00Z.
    Time,
    Long,
    Int,
    Short,
    Text,
    Texts,
    /// Read back as text, because no other type represents the number exactly.
    Numeric,
    /// `jsonb`, read back as text.
    Json,
    /// An enum of the database, read back as text.
    Enum(&'static str),
}

impl ColumnType {
    /// Returns the name of the type in Postgres.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Boolean => "boolean",
            Self::Time => "timestamp with time zone",
            Self::Long => "bigint",
            Self::Int => "integer",
            Self::Short => "smallint",
            Self::Text => "text",
            Self::Texts => "text[]",
            Self::Numeric => "numeric",
            Self::Json => "jsonb",
            Self::Enum(name) => name,
        }
    }
}

/// The positions of the ids of dictionary entries in an encoded row.
#[derive(Default)]
pub struct Placeholders {
    /// The position of the id of the code, a bigint.
    pub code_id: usize,
    /// The position of the id of the device, a bigint.
    pub device_id: Option<usize>,
    /// The position of the id of the gateway, a bigint.
    pub gateway_id: Option<usize>,
    /// The positions of the ids of the codes in the JSON of the components, in the order of the components. Each id has as many
    /// bytes as [`padded`](super::padded) returns.
    pub component_code_ids: Vec<usize>,
}

/// The input for the columns of one row.
pub(super) struct RowInput<'a> {
    pub(super) reading: &'a Reading,
    pub(super) version: Version,
    pub(super) mac: i64,
    pub(super) cells: Cells<'a>,
}

type Write = fn(&mut Tuple<'_>, &RowInput<'_>, &mut Placeholders);
type Read = fn(&mut Draft, Cell<'_>) -> Result<(), sqlx::Error>;

/// The definition of one column.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) column_type: ColumnType,
    /// The comment on the column in the database.
    pub(super) comment: CommentSource,
    pub(super) write: Write,
    pub(super) read: Read,
}

/// One column of a row that is read.
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

pub(super) const fn column(
    name: &'static str,
    column_type: ColumnType,
    comment: CommentSource,
    write: Write,
    read: Read,
) -> Column {
    Column { name, column_type, comment, write, read }
}
