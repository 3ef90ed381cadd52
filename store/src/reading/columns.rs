//! The columns of `readings`, in the order of the table. Each column is defined once, with its name, its type, its comment, and the
//! functions that write and read it.
//!
//! Columns of the same width are adjacent, so that Postgres does not need padding between them.

use std::{borrow::Cow, sync::LazyLock};

use schemas::{
    event::{Flag, Missing, PatientId, Precision, SourceName, Status},
    format::Format,
};
use uuid::Uuid;

use super::{
    column::{Column, ColumnType, column},
    instant,
    unreadable::unknown_word,
    value::{self, Extra, StoredComponent},
};
use crate::{
    comment::source::CommentSource::{self, Field, Text, TopicCode},
    copy::Tuple,
    topic_code, topic_of,
};

/// All columns.
#[rustfmt::skip]
pub(super) static COLUMNS: &[Column] = &[
    column("reading_id", ColumnType::Uuid,
        Field("Reading", "reading_id"),
        |row, from, _| row.bytes(from.reading.reading_id.as_bytes()),
        |draft, cell| { draft.reading.reading_id = cell.get()?; Ok(()) }),
    column("content", ColumnType::Uuid,
        Field("Reading", "content"),
        |row, from, _| row.bytes(&from.reading.content),
        |draft, cell| { draft.reading.content = cell.get::<Uuid>()?.into_bytes(); Ok(()) }),
    column("measured_from", ColumnType::Time,
        Text("When the measurement began; the start of the time span when time_precision is coarser than a second."),
        |row, from, _| row.maybe(from.reading.measured_from, Tuple::time),
        |draft, cell| { draft.reading.measured_from = cell.get()?; Ok(()) }),
    column("received_at", ColumnType::Time,
        Text("When the broker appended the raw record."),
        |row, from, _| row.time(from.version.row.at),
        |draft, cell| { draft.reading.received_at = cell.get()?; Ok(()) }),
    column("raw_offset", ColumnType::Long,
        Field("Provenance", "offset"),
        |row, from, _| row.long(from.version.row.offset),
        |draft, cell| { draft.reading.provenance.offset = cell.get()?; Ok(()) }),
    column("receipt_mac", ColumnType::Long,
        Text("The authentication code in the receipt."),
        |row, from, _| row.long(from.mac),
        // A reading has no such field: the code is only needed to build the receipt from the position.
        |_, _| Ok(())),
    column("coding_id", ColumnType::Long,
        Text("The code of what was observed, a row of codings."),
        |row, _, placeholders| placeholders.code_id = row.placeholder(),
        |draft, cell| { draft.coding_id = cell.get()?; Ok(()) }),
    column("description_id", ColumnType::Long,
        Text("The device that measured, a row of device_descriptions."),
        |row, from, placeholders| placeholders.device_id = row.placeholder_if(from.reading.device.is_some()),
        |draft, cell| { draft.device_id = cell.get()?; Ok(()) }),
    column("gateway_id", ColumnType::Long,
        Text("The hub that forwarded the reading, a row of device_descriptions."),
        |row, from, placeholders| placeholders.gateway_id = row.placeholder_if(from.reading.gateway.is_some()),
        |draft, cell| { draft.gateway_id = cell.get()?; Ok(()) }),
    column("measured_until", ColumnType::Time,
        Field("Reading", "measured_until"),
        |row, from, _| row.maybe(from.reading.measured_until, Tuple::time),
        |draft, cell| { draft.reading.measured_until = cell.get()?; Ok(()) }),
    column("imprecise_until", ColumnType::Time,
        Field("Reading", "imprecise_until"),
        |row, from, _| row.maybe(from.reading.imprecise_until, Tuple::time),
        |draft, cell| { draft.reading.imprecise_until = cell.get()?; Ok(()) }),
    column("source_version", ColumnType::Long,
        Field("Reading", "source_version"),
        |row, from, _| row.maybe(from.version.source.number, Tuple::long),
        |draft, cell| { draft.reading.source_version = cell.get()?; Ok(()) }),
    column("source_updated_at", ColumnType::Time,
        Text("The source's own time of this version (lastUpdated, issued, receivedTime)."),
        |row, from, _| row.maybe(from.version.source.updated_at, Tuple::time),
        |draft, cell| { draft.reading.source_updated_at = cell.get()?; Ok(()) }),
    column("first_received_at", ColumnType::Time,
        Text("When this content was first appended; null when that is the append of this row."),
        |row, from, _| row.maybe(from.first().map(|first| first.at), Tuple::time),
        |draft, cell| { draft.first.at = cell.get()?; Ok(()) }),
    column("first_offset", ColumnType::Long,
        Text("The offset of the first append; null when it is the append of this row."),
        |row, from, _| row.maybe(from.first().map(|first| first.offset), Tuple::long),
        |draft, cell| { draft.first.offset = cell.get()?; Ok(()) }),
    column("raw_partition", ColumnType::Int,
        Field("Provenance", "partition"),
        |row, from, _| row.int(from.version.row.partition),
        |draft, cell| { draft.reading.provenance.partition = cell.get()?; Ok(()) }),
    column("topic_epoch", ColumnType::Int,
        Field("Provenance", "topic_epoch"),
        |row, from, _| row.int(from.version.row.topic_epoch),
        |draft, cell| { draft.reading.provenance.topic_epoch = cell.get()?; Ok(()) }),
    column("item", ColumnType::Int,
        Field("Provenance", "item"),
        |row, from, _| row.int(from.version.row.item),
        |draft, cell| { draft.reading.provenance.item = cell.get()?; Ok(()) }),
    column("mapping_version", ColumnType::Int,
        Field("Provenance", "mapping_version"),
        |row, from, _| row.int(from.version.mapped_by.mapping),
        |draft, cell| { draft.reading.provenance.mapping_version = cell.get()?; Ok(()) }),
    column("first_topic_epoch", ColumnType::Int,
        Text("The topic epoch of the first append; null when it is the append of this row."),
        |row, from, _| row.maybe(from.first().map(|first| first.topic_epoch), Tuple::int),
        |draft, cell| { draft.first.topic_epoch = cell.get()?; Ok(()) }),
    column("first_partition", ColumnType::Int,
        Text("The partition of the first append; null when it is the append of this row."),
        |row, from, _| row.maybe(from.first().map(|first| first.partition), Tuple::int),
        |draft, cell| { draft.first.partition = cell.get()?; Ok(()) }),
    column("first_item", ColumnType::Int,
        Text("The item of the first append; null when it is the append of this row."),
        |row, from, _| row.maybe(from.first().map(|first| first.item), Tuple::int),
        |draft, cell| { draft.first.item = cell.get()?; Ok(()) }),
    column("format", ColumnType::Enum("payload_format"),
        Field("Provenance", "format"),
        |row, from, _| row.text(from.reading.provenance.format.as_str()),
        |draft, cell| { draft.reading.provenance.format = cell.word(Format::from_word)?; Ok(()) }),
    column("status", ColumnType::Enum("reading_status"),
        Field("Reading", "status"),
        |row, from, _| row.text(from.reading.status.as_str()),
        |draft, cell| { draft.reading.status = cell.word(Status::from_word)?; Ok(()) }),
    column("time_precision", ColumnType::Enum("time_precision"),
        Field("Reading", "time_precision"),
        |row, from, _| row.text(from.reading.time_precision.as_str()),
        |draft, cell| { draft.reading.time_precision = cell.word(Precision::from_word)?; Ok(()) }),
    column("topic_code", ColumnType::Short,
        TopicCode,
        |row, from, _| row.short(topic_code(from.version.row.topic)),
        |draft, cell| { draft.reading.provenance.topic = Some(topic_of(cell.get()?)?); Ok(()) }),
    column("first_topic_code", ColumnType::Short,
        Text("The raw topic of the first append, as a number of topic_code; null when it is the append of this row."),
        |row, from, _| row.maybe(from.first().map(|first| topic_code(first.topic)), Tuple::short),
        |draft, cell| { draft.first.topic = cell.get::<Option<i16>>()?.map(topic_of).transpose()?; Ok(()) }),
    column("offset_minutes", ColumnType::Short,
        Field("Reading", "offset_minutes"),
        |row, from, _| row.maybe(from.reading.offset_minutes, Tuple::small_int),
        |draft, cell| { draft.reading.offset_minutes = cell.get::<Option<i16>>()?.map(i32::from); Ok(()) }),
    column("source", ColumnType::Text,
        Field("Reading", "source"),
        |row, from, _| row.text(from.reading.source.as_str()),
        |draft, cell| { draft.reading.source = cell.word(|text| SourceName::parse(text).ok())?; Ok(()) }),
    column("subject", ColumnType::Text,
        Field("Reading", "subject"),
        |row, from, _| row.maybe(from.reading.subject.as_ref(), |row, subject| row.text(subject.as_str())),
        |draft, cell| {
            let subject: Option<&str> = cell.get()?;
            draft.reading.subject = subject.map(|text| PatientId::parse(text).map_err(|_| unknown_word())).transpose()?;
            Ok(())
        }),
    column("patient_claim", ColumnType::Text,
        Field("Reading", "patient_claim"),
        |row, from, _| row.maybe(from.reading.patient_claim.as_deref(), Tuple::text),
        |draft, cell| { draft.reading.patient_claim = cell.get()?; Ok(()) }),
    column("value_num", ColumnType::Numeric,
        Text("The number in unit; a bound when there is a comparator."),
        |row, from, _| row.maybe(from.cells.number, Tuple::numeric),
        |draft, cell| { draft.cells.number = cell.get()?; Ok(()) }),
    column("unit", ColumnType::Text,
        Text("The UCUM unit of the number or of the samples."),
        |row, from, _| row.maybe(from.cells.unit, Tuple::text),
        |draft, cell| { draft.cells.unit = cell.get()?; Ok(()) }),
    column("source_value", ColumnType::Text,
        Text("The number as the source wrote it; null when it has the same text as value_num."),
        |row, from, _| row.maybe(from.cells.source_value, Tuple::text),
        |draft, cell| { draft.cells.source_value = cell.get()?; Ok(()) }),
    column("source_unit", ColumnType::Text,
        Text("The unit as the source wrote it; null when it is the same as unit, empty when the source wrote none."),
        |row, from, _| row.maybe(from.cells.source_unit, Tuple::text),
        |draft, cell| { draft.cells.source_unit = cell.get()?; Ok(()) }),
    column("comparator", ColumnType::Text,
        Field("Quantity", "comparator"),
        |row, from, _| row.maybe(from.cells.comparator, Tuple::text),
        |draft, cell| { draft.cells.comparator = cell.get()?; Ok(()) }),
    column("value_text", ColumnType::Text,
        Text("The value when it is a text."),
        |row, from, _| row.maybe(from.cells.text, Tuple::text),
        |draft, cell| { draft.cells.text = cell.get()?; Ok(()) }),
    column("absent", ColumnType::Text,
        Text("Why there is no value (FHIR R4 DataAbsentReason); or panel, when only the components have values."),
        |row, from, _| row.maybe(from.cells.absent, |row, absent| row.text(absent.as_str())),
        |draft, cell| { draft.cells.absent = cell.get::<Option<&str>>()?.map(|word| Missing::from_word(word).ok_or_else(unknown_word)).transpose()?; Ok(()) }),
    column("measured_text", ColumnType::Text,
        Text("The text of measured_from; null when it is the usual notation of the format, empty when the source has no text."),
        |row, from, _| row.maybe(instant::stored_from(from.reading).as_deref(), Tuple::text),
        |draft, cell| { draft.measured_text = cell.get()?; Ok(()) }),
    column("measured_until_text", ColumnType::Text,
        Text("The text of measured_until; null and empty as in measured_text."),
        |row, from, _| row.maybe(instant::stored_until(from.reading).as_deref(), Tuple::text),
        |draft, cell| { draft.measured_until_text = cell.get()?; Ok(()) }),
    column("flags", ColumnType::Texts,
        Field("Reading", "flags"),
        |row, from, _| {
            let flags = (!from.reading.flags.is_empty()).then_some(&from.reading.flags);
            row.maybe(flags, |row, flags| row.texts(flags.iter().map(|flag| flag.as_str())));
        },
        |draft, cell| {
            let words: Vec<String> = cell.get::<Option<_>>()?.unwrap_or_default();
            draft.reading.flags = words.iter().map(|word| Flag::from_word(word).ok_or_else(unknown_word)).collect::<Result<_, _>>()?;
            Ok(())
        }),
    column("components", ColumnType::Json,
        Text("The parts of a panel: c is the number of the code in codings, n the number, t the text, u the unit, s the source's value, su the source's unit, cmp the comparator, a why there is no value, f the flags, x the same as the column extra."),
        |row, from, placeholders| {
            let components = (!from.reading.components.is_empty()).then_some(&from.reading.components);
            row.maybe(components, |row, components| row.json(|out| value::write_components(components, &mut placeholders.component_code_ids, out)));
        },
        |draft, cell| { draft.components = cell.json::<Vec<StoredComponent<'static>>>()?.unwrap_or_default(); Ok(()) }),
    column("extra", ColumnType::Json,
        Text("What has no column: coded values, waveforms, documents, true and false, and the codes as the source wrote them."),
        |row, from, _| {
            let extra = from.cells.extra(&from.reading.source_codes);
            row.maybe(extra, |row, extra| row.json(|out| value::write_json(&extra, out)));
        },
        |draft, cell| { draft.extra = cell.json::<Extra<'static>>()?.unwrap_or_default(); Ok(()) }),
    column("key_id", ColumnType::Text,
        Field("Reading", "key_id"),
        |row, from, _| row.maybe(from.reading.key_id.as_deref(), Tuple::text),
        |draft, cell| { draft.reading.key_id = cell.get()?; Ok(()) }),
    column("catalogue_revision", ColumnType::Int,
        Text("The revision of the installation's own catalogue with which the payload was mapped; null without one."),
        |row, from, _| row.maybe(Some(from.version.mapped_by.catalogue).filter(|revision| *revision != 0), Tuple::int),
        |draft, cell| { draft.reading.provenance.catalogue_revision = cell.get::<Option<i32>>()?.unwrap_or(0); Ok(()) }),
    column("replay", ColumnType::Int,
        Text("The replay that published the reading, a row of replays; null when it was the normalizer."),
        |row, from, _| row.maybe(from.reading.replay, Tuple::int),
        |draft, cell| { draft.reading.replay = cell.get()?; Ok(()) }),
    column("withdrawn", ColumnType::Boolean,
        Text("True when a replay found that no item yields the reading any more; otherwise null."),
        |row, from, _| row.maybe(from.version.withdrawn.then_some(true), Tuple::boolean),
        |draft, cell| { draft.reading.withdrawn = cell.get::<Option<bool>>()?.unwrap_or(false); Ok(()) }),
];

/// Returns the names of all columns, separated by commas.
#[must_use]
pub fn column_names() -> &'static str {
    static NAMES: LazyLock<String> =
        LazyLock::new(|| COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>().join(", "));
    &NAMES
}

/// Returns each column with the name of its type in Postgres.
pub fn columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    COLUMNS.iter().map(|column| (column.name, column.column_type.name()))
}

/// Returns each column with its comment.
pub(crate) fn column_comments() -> impl Iterator<Item = (&'static str, CommentSource)> {
    COLUMNS.iter().map(|column| (column.name, column.comment))
}

/// The select list with all columns, in the form in which [`super::load()`] reads them.
pub(super) static SELECTED: LazyLock<String> = LazyLock::new(|| {
    let select = |column: &Column| -> Cow<'static, str> {
        let name = column.name;
        match column.column_type {
            ColumnType::Time => format!("(extract(epoch FROM {name}) * 1000000)::bigint").into(),
            ColumnType::Numeric | ColumnType::Json | ColumnType::Enum(_) => format!("{name}::text").into(),
            ColumnType::Uuid
            | ColumnType::Boolean
            | ColumnType::Long
            | ColumnType::Int
            | ColumnType::Short
            | ColumnType::Text
            | ColumnType::Texts => name.into(),
        }
    };
    COLUMNS.iter().map(select).collect::<Vec<_>>().join(", ")
});
