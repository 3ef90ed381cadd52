//! The columns of `readings`, in the order of the table: name, type, how one is written and how it is read back, each said once.
//!
//! The order keeps columns of one width together, so that Postgres pads none of them.

use std::{borrow::Cow, sync::LazyLock};

use schemas::{
    event::{Flag, Missing, PatientId, Precision, Reading, SourceName, Status},
    format::Format,
    version::Version,
};
use sqlx::{Decode, Postgres, Row as _, Type, postgres::PgRow};
use uuid::Uuid;

use super::{
    Places,
    draft::{Draft, unknown_word},
    instant,
    value::{self, Cells, Extra, Part},
};
use crate::{copy::Tuple, topic_code, topic_of};

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
    pub(super) write: Write,
    pub(super) read: Read,
}

/// One column of a row that is read back.
#[derive(Clone, Copy)]
pub(super) struct Cell<'r>(pub(super) &'r PgRow, pub(super) usize);

impl<'r> Cell<'r> {
    fn get<T: Decode<'r, Postgres> + Type<Postgres>>(self) -> Result<T, sqlx::Error> {
        self.0.try_get(self.1)
    }

    fn word<T>(self, read: impl Fn(&str) -> Option<T>) -> Result<T, sqlx::Error> {
        read(self.get()?).ok_or_else(unknown_word)
    }

    fn json<T: serde::de::DeserializeOwned>(self) -> Result<Option<T>, sqlx::Error> {
        let text: Option<&str> = self.get()?;
        text.map(serde_json::from_str).transpose().map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

const fn column(name: &'static str, kind: Kind, write: Write, read: Read) -> Column {
    Column { name, kind, write, read }
}

/// All columns.
#[rustfmt::skip]
pub(super) static COLUMNS: [Column; 44] = [
    column("reading_id", Kind::Uuid,
        |row, from, _| row.bytes(from.reading.reading_id.as_bytes()),
        |draft, cell| { draft.reading.reading_id = cell.get()?; Ok(()) }),
    column("content", Kind::Uuid,
        |row, from, _| row.bytes(&from.reading.content),
        |draft, cell| { draft.reading.content = cell.get::<Uuid>()?.into_bytes(); Ok(()) }),
    column("measured_from", Kind::Time,
        |row, from, _| row.maybe(from.reading.measured_from, Tuple::time),
        |draft, cell| { draft.reading.measured_from = cell.get()?; Ok(()) }),
    column("received_at", Kind::Time,
        |row, from, _| row.time(from.version.row.at),
        |draft, cell| { draft.reading.received_at = cell.get()?; Ok(()) }),
    column("raw_offset", Kind::Long,
        |row, from, _| row.long(from.version.row.offset),
        |draft, cell| { draft.reading.provenance.offset = cell.get()?; Ok(()) }),
    column("receipt_mac", Kind::Long,
        |row, from, _| row.long(from.mac),
        // The receipt is made of it together with the position; the reading has none.
        |_, _| Ok(())),
    column("coding_id", Kind::Long,
        |row, _, places| places.code = row.blank(),
        |draft, cell| { draft.coding = cell.get()?; Ok(()) }),
    column("description_id", Kind::Long,
        |row, from, places| places.device = row.blank_if(from.reading.device.is_some()),
        |draft, cell| { draft.device = cell.get()?; Ok(()) }),
    column("gateway_id", Kind::Long,
        |row, from, places| places.gateway = row.blank_if(from.reading.gateway.is_some()),
        |draft, cell| { draft.gateway = cell.get()?; Ok(()) }),
    column("measured_until", Kind::Time,
        |row, from, _| row.maybe(from.reading.measured_until, Tuple::time),
        |draft, cell| { draft.reading.measured_until = cell.get()?; Ok(()) }),
    column("imprecise_until", Kind::Time,
        |row, from, _| row.maybe(from.reading.imprecise_until, Tuple::time),
        |draft, cell| { draft.reading.imprecise_until = cell.get()?; Ok(()) }),
    column("source_version", Kind::Long,
        |row, from, _| row.maybe(from.version.source.number, Tuple::long),
        |draft, cell| { draft.reading.source_version = cell.get()?; Ok(()) }),
    column("source_updated_at", Kind::Time,
        |row, from, _| row.maybe(from.version.source.updated_at, Tuple::time),
        |draft, cell| { draft.reading.source_updated_at = cell.get()?; Ok(()) }),
    column("first_received_at", Kind::Time,
        |row, from, _| row.maybe(from.first().map(|first| first.at), Tuple::time),
        |draft, cell| { draft.first.at = cell.get()?; Ok(()) }),
    column("first_offset", Kind::Long,
        |row, from, _| row.maybe(from.first().map(|first| first.offset), Tuple::long),
        |draft, cell| { draft.first.offset = cell.get()?; Ok(()) }),
    column("raw_partition", Kind::Int,
        |row, from, _| row.int(from.version.row.partition),
        |draft, cell| { draft.reading.provenance.partition = cell.get()?; Ok(()) }),
    column("topic_epoch", Kind::Int,
        |row, from, _| row.int(from.version.row.topic_epoch),
        |draft, cell| { draft.reading.provenance.topic_epoch = cell.get()?; Ok(()) }),
    column("item", Kind::Int,
        |row, from, _| row.int(from.version.row.item),
        |draft, cell| { draft.reading.provenance.item = cell.get()?; Ok(()) }),
    column("mapping_version", Kind::Int,
        |row, from, _| row.int(from.version.mapping_version),
        |draft, cell| { draft.reading.provenance.mapping_version = cell.get()?; Ok(()) }),
    column("first_topic_epoch", Kind::Int,
        |row, from, _| row.maybe(from.first().map(|first| first.topic_epoch), Tuple::int),
        |draft, cell| { draft.first.topic_epoch = cell.get()?; Ok(()) }),
    column("first_partition", Kind::Int,
        |row, from, _| row.maybe(from.first().map(|first| first.partition), Tuple::int),
        |draft, cell| { draft.first.partition = cell.get()?; Ok(()) }),
    column("first_item", Kind::Int,
        |row, from, _| row.maybe(from.first().map(|first| first.item), Tuple::int),
        |draft, cell| { draft.first.item = cell.get()?; Ok(()) }),
    column("format", Kind::Word("payload_format"),
        |row, from, _| row.text(from.reading.provenance.format.as_str()),
        |draft, cell| { draft.reading.provenance.format = cell.word(Format::from_word)?; Ok(()) }),
    column("status", Kind::Word("reading_status"),
        |row, from, _| row.text(from.reading.status.as_str()),
        |draft, cell| { draft.reading.status = cell.word(Status::from_word)?; Ok(()) }),
    column("time_precision", Kind::Word("time_precision"),
        |row, from, _| row.text(from.reading.time_precision.as_str()),
        |draft, cell| { draft.reading.time_precision = cell.word(Precision::from_word)?; Ok(()) }),
    column("topic_code", Kind::Short,
        |row, from, _| row.short(topic_code(from.version.row.topic)),
        |draft, cell| { draft.reading.provenance.topic = Some(topic_of(cell.get()?)?); Ok(()) }),
    column("first_topic_code", Kind::Short,
        |row, from, _| row.maybe(from.first().map(|first| topic_code(first.topic)), Tuple::short),
        |draft, cell| { draft.first.topic = cell.get::<Option<i16>>()?.map(topic_of).transpose()?; Ok(()) }),
    column("offset_minutes", Kind::Short,
        |row, from, _| row.maybe(from.reading.offset_minutes, Tuple::small_int),
        |draft, cell| { draft.reading.offset_minutes = cell.get::<Option<i16>>()?.map(i32::from); Ok(()) }),
    column("source", Kind::Text,
        |row, from, _| row.text(from.reading.source.as_str()),
        |draft, cell| { draft.reading.source = cell.word(|text| SourceName::parse(text).ok())?; Ok(()) }),
    column("subject", Kind::Text,
        |row, from, _| row.maybe(from.reading.subject.as_ref(), |row, subject| row.text(subject.as_str())),
        |draft, cell| {
            let subject: Option<&str> = cell.get()?;
            draft.reading.subject = subject.map(|text| PatientId::parse(text).map_err(|_| unknown_word())).transpose()?;
            Ok(())
        }),
    column("patient_claim", Kind::Text,
        |row, from, _| row.maybe(from.reading.patient_claim.as_deref(), Tuple::text),
        |draft, cell| { draft.reading.patient_claim = cell.get()?; Ok(()) }),
    column("value_num", Kind::Numeric,
        |row, from, _| row.maybe(from.cells.number, Tuple::numeric),
        |draft, cell| { draft.cells.number = cell.get()?; Ok(()) }),
    column("unit", Kind::Text,
        |row, from, _| row.maybe(from.cells.unit, Tuple::text),
        |draft, cell| { draft.cells.unit = cell.get()?; Ok(()) }),
    column("source_value", Kind::Text,
        |row, from, _| row.maybe(from.cells.source_value, Tuple::text),
        |draft, cell| { draft.cells.source_value = cell.get()?; Ok(()) }),
    column("source_unit", Kind::Text,
        |row, from, _| row.maybe(from.cells.source_unit, Tuple::text),
        |draft, cell| { draft.cells.source_unit = cell.get()?; Ok(()) }),
    column("comparator", Kind::Text,
        |row, from, _| row.maybe(from.cells.comparator, Tuple::text),
        |draft, cell| { draft.cells.comparator = cell.get()?; Ok(()) }),
    column("value_text", Kind::Text,
        |row, from, _| row.maybe(from.cells.text, Tuple::text),
        |draft, cell| { draft.cells.text = cell.get()?; Ok(()) }),
    column("absent", Kind::Text,
        |row, from, _| row.maybe(from.cells.absent, |row, absent| row.text(absent.as_str())),
        |draft, cell| { draft.cells.absent = cell.get::<Option<&str>>()?.map(|word| Missing::from_word(word).ok_or_else(unknown_word)).transpose()?; Ok(()) }),
    column("measured_text", Kind::Text,
        |row, from, _| row.maybe(instant::stored_from(from.reading).as_deref(), Tuple::text),
        |draft, cell| { draft.measured_text = cell.get()?; Ok(()) }),
    column("measured_until_text", Kind::Text,
        |row, from, _| row.maybe(instant::stored_until(from.reading).as_deref(), Tuple::text),
        |draft, cell| { draft.measured_until_text = cell.get()?; Ok(()) }),
    column("flags", Kind::Texts,
        |row, from, _| {
            let flags = (!from.reading.flags.is_empty()).then_some(&from.reading.flags);
            row.maybe(flags, |row, flags| row.texts(flags.iter().map(|flag| flag.as_str())));
        },
        |draft, cell| {
            let words: Vec<String> = cell.get::<Option<_>>()?.unwrap_or_default();
            draft.reading.flags = words.iter().map(|word| Flag::from_word(word).ok_or_else(unknown_word)).collect::<Result<_, _>>()?;
            Ok(())
        }),
    column("components", Kind::Json,
        |row, from, places| {
            let parts = (!from.reading.components.is_empty()).then_some(&from.reading.components);
            row.maybe(parts, |row, parts| row.json(|out| value::components(parts, &mut places.parts, out)));
        },
        |draft, cell| { draft.components = cell.json::<Vec<Part<'static>>>()?.unwrap_or_default(); Ok(()) }),
    column("extra", Kind::Json,
        |row, from, _| {
            let extra = from.cells.extra(&from.reading.source_codes);
            row.maybe(extra, |row, extra| row.json(|out| value::write(&extra, out)));
        },
        |draft, cell| { draft.extra = cell.json::<Extra<'static>>()?.unwrap_or_default(); Ok(()) }),
    column("key_id", Kind::Text,
        |row, from, _| row.maybe(from.reading.key_id.as_deref(), Tuple::text),
        |draft, cell| { draft.reading.key_id = cell.get()?; Ok(()) }),
];

/// The names of all columns, separated by commas.
#[must_use]
pub fn column_names() -> &'static str {
    static NAMES: LazyLock<String> =
        LazyLock::new(|| COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>().join(", "));
    &NAMES
}

/// Each column with its type as Postgres names it.
pub fn columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    COLUMNS.iter().map(|column| (column.name, column.kind.name()))
}

/// What selects all columns so that they can be read back.
pub(super) static SELECTED: LazyLock<String> = LazyLock::new(|| {
    let select = |column: &Column| -> Cow<'static, str> {
        let name = column.name;
        match column.kind {
            Kind::Time => format!("(extract(epoch FROM {name}) * 1000000)::bigint").into(),
            Kind::Numeric | Kind::Json | Kind::Word(_) => format!("{name}::text").into(),
            Kind::Uuid | Kind::Long | Kind::Int | Kind::Short | Kind::Text | Kind::Texts => name.into(),
        }
    };
    COLUMNS.iter().map(select).collect::<Vec<_>>().join(", ")
});
