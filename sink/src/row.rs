//! A reading as a row: the columns in the order of the table, checked before they travel.

use std::collections::HashMap;

use schemas::{
    event::{Coding, Component, Device, Missing, Reading, Value},
    identity::Content,
    receipt::{Position, ReceiptKey},
    version::Version,
};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use crate::copy::{RowFault, Tuple};

/// The columns of `readings` in the order in which [`Row::encode`] writes them.
pub(crate) const COLUMNS: &str = "reading_id, content, device_key, measured_from, measured_until, imprecise_until, \
    received_at, raw_offset, receipt_mac, source_version, source_updated_at, first_received_at, first_offset, \
    first_epoch, first_partition, first_item, topic_epoch, raw_partition, item, mapping_version, coding_id, \
    description_id, gateway_id, offset_minutes, provider, format, status, time_precision, source, subject, \
    patient_claim, value_num, value_text, unit, source_value, source_unit, comparator, absent, measured_text, \
    measured_until_text, flags, components, extra, key_id";
const COLUMN_COUNT: i16 = 44;

/// A reading that can be written.
#[derive(Clone)]
pub struct Row {
    /// The event.
    pub reading: Reading,
    /// What is known of its content.
    pub version: Version,
    pub(crate) mac: i64,
}

/// The ids of dictionary entries by their hash.
#[derive(Default)]
pub struct Dictionary {
    pub(crate) codings: HashMap<Uuid, i32>,
    pub(crate) devices: HashMap<Uuid, i32>,
}

/// The hash under which a coding is unique.
#[must_use]
pub fn coding_hash(coding: &Coding) -> Uuid {
    let mut content = Content::default();
    content.literal(&coding.system);
    content.literal(&coding.code);
    content.optional(coding.display.as_deref());
    Uuid::from_bytes(content.finish())
}

/// The hash under which the description of a device is unique.
#[must_use]
pub fn device_hash(device: &Device) -> Uuid {
    let mut content = Content::default();
    content.literal(&device.key.to_string());
    content.literal(device.id.as_str());
    content.optional(device.manufacturer.as_deref());
    content.optional(device.model.as_deref());
    content.optional(device.serial.as_deref());
    Uuid::from_bytes(content.finish())
}

fn mac(reading: &Reading, key: &ReceiptKey) -> Result<i64, RowFault> {
    let from = &reading.provenance;
    let item = if from.format.has_item_receipts(reading.provider) { from.item } else { 0 };
    Ok(key.mac(&Position {
        topic: reading.provider.raw_topic(),
        topic_epoch: u16::try_from(from.topic_epoch).map_err(|_| RowFault::Number)?,
        partition: from.partition,
        offset: from.offset,
        item: u32::try_from(item).map_err(|_| RowFault::Number)?,
    }))
}

impl Row {
    /// Checks everything that Postgres could refuse.
    ///
    /// # Errors
    /// [`RowFault`] says what cannot be stored; the reading comes back.
    pub fn new(reading: Reading, key: &ReceiptKey) -> Result<Self, (Box<Reading>, RowFault)> {
        let mac = match mac(&reading, key) {
            Ok(mac) => mac,
            Err(fault) => return Err((Box::new(reading), fault)),
        };
        let row = Self { version: Version::of(&reading), reading, mac };
        match row.check() {
            Ok(()) => Ok(row),
            Err(fault) => Err((Box::new(row.reading), fault)),
        }
    }

    fn check(&self) -> Result<(), RowFault> {
        let reading = &self.reading;
        if let (Some(from), Some(until)) = (reading.measured_from, reading.imprecise_until)
            && until < from
        {
            return Err(RowFault::Time);
        }
        let described = reading.device.iter().chain(&reading.gateway).flat_map(|device| {
            [
                Some(device.id.as_str()),
                device.manufacturer.as_deref(),
                device.model.as_deref(),
                device.serial.as_deref(),
            ]
        });
        let coded = std::iter::once(&reading.code)
            .chain(reading.components.iter().map(|part| &part.code))
            .flat_map(|coding| [Some(coding.system.as_str()), Some(coding.code.as_str()), coding.display.as_deref()]);
        if described.chain(coded).flatten().any(|text| text.contains('\0')) {
            return Err(RowFault::Nul);
        }
        for part in &reading.components {
            if let Value::Quantity(quantity) = &part.value
                && crate::copy::numeric(&quantity.value).is_none()
            {
                return Err(RowFault::Number);
            }
        }
        self.encode(&Dictionary::default(), &mut Vec::with_capacity(512))
    }

    /// Appends the row; dictionary ids that are missing are written as 0.
    pub(crate) fn encode(&self, dictionary: &Dictionary, out: &mut Vec<u8>) -> Result<(), RowFault> {
        let reading = &self.reading;
        let mut row = Tuple::begin(out, COLUMN_COUNT);
        row.bytes(reading.reading_id.as_bytes());
        row.bytes(&reading.content);
        row.maybe(reading.device.as_ref(), |row, device| row.bytes(device.key.as_bytes()));
        row.maybe(reading.measured_from, Tuple::time);
        row.maybe(reading.measured_until, Tuple::time);
        row.maybe(reading.imprecise_until, Tuple::time);
        self.encode_position(&mut row);
        let device = |device: &Device| dictionary.devices.get(&device_hash(device)).copied().unwrap_or_default();
        row.int(dictionary.coding(&reading.code));
        row.maybe(reading.device.as_ref().map(device), Tuple::int);
        row.maybe(reading.gateway.as_ref().map(device), Tuple::int);
        row.maybe(reading.offset_minutes, Tuple::int);
        row.text(reading.provider.as_str());
        row.text(reading.provenance.format.as_str());
        row.text(reading.status.as_str());
        row.text(reading.time_precision.as_str());
        row.text(reading.source.as_str());
        row.maybe(reading.subject.as_ref(), |row, subject| row.text(subject.as_str()));
        row.maybe(reading.patient_claim.as_deref(), Tuple::text);
        let cells = Cells::of(&reading.value);
        row.maybe(cells.number, Tuple::numeric);
        row.maybe(cells.text.as_deref(), Tuple::text);
        row.maybe(cells.unit, Tuple::text);
        row.maybe(cells.source_value, Tuple::text);
        row.maybe(cells.source_unit, Tuple::text);
        row.maybe(cells.comparator, Tuple::text);
        row.maybe(cells.absent, |row, absent| row.text(missing_word(absent)));
        row.maybe(reading.measured_text.as_deref(), Tuple::text);
        row.maybe(reading.measured_until_text.as_deref(), Tuple::text);
        let flags = (!reading.flags.is_empty()).then_some(&reading.flags);
        row.maybe(flags, |row, flags| row.texts(flags.iter().map(|flag| flag.as_str())));
        let components = (!reading.components.is_empty()).then_some(&reading.components);
        row.maybe(components, |row, parts| {
            row.json(&Json::Array(parts.iter().map(|part| dictionary.component(part)).collect()));
        });
        let mut extra = cells.extra;
        if !reading.source_codes.is_empty() {
            extra.insert("source_codes".to_owned(), codings(&reading.source_codes));
        }
        row.maybe((!extra.is_empty()).then_some(extra), |row, extra| row.json(&Json::Object(extra)));
        row.maybe(reading.key_id.as_deref(), Tuple::text);
        row.finish()
    }

    fn encode_position(&self, row: &mut Tuple<'_>) {
        let Version { source, first, mapping_version, row: own } = self.version;
        row.time(own.at);
        row.long(own.offset);
        row.long(self.mac);
        row.maybe(source.number, Tuple::long);
        row.maybe(source.updated_at, Tuple::time);
        let first = (first != own).then_some(first);
        row.maybe(first, |row, first| row.time(first.at));
        row.maybe(first, |row, first| row.long(first.offset));
        row.maybe(first, |row, first| row.int(first.topic_epoch));
        row.maybe(first, |row, first| row.int(first.partition));
        row.maybe(first, |row, first| row.int(first.item));
        row.int(own.topic_epoch);
        row.int(own.partition);
        row.int(own.item);
        row.int(mapping_version);
    }

    /// The hash of the content, as it stands in the column.
    #[must_use]
    pub const fn content(&self) -> Uuid {
        Uuid::from_bytes(self.reading.content)
    }
}

impl Dictionary {
    fn coding(&self, coding: &Coding) -> i32 {
        self.codings.get(&coding_hash(coding)).copied().unwrap_or_default()
    }

    fn component(&self, part: &Component) -> Json {
        let cells = Cells::of(&part.value);
        let mut out = Map::new();
        out.insert("c".to_owned(), self.coding(&part.code).into());
        let texts = [
            // A number as text: JSON's own would pass through a float on the way.
            ("n", cells.number),
            ("t", cells.text.as_deref()),
            ("u", cells.unit),
            ("s", cells.source_value),
            ("su", cells.source_unit),
            ("cmp", cells.comparator),
            ("a", cells.absent.map(missing_word)),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                out.insert(name.to_owned(), text.into());
            }
        }
        if !part.flags.is_empty() {
            out.insert("f".to_owned(), part.flags.iter().map(|flag| Json::from(flag.as_str())).collect());
        }
        let mut extra = cells.extra;
        if !part.source_codes.is_empty() {
            extra.insert("source_codes".to_owned(), codings(&part.source_codes));
        }
        if !extra.is_empty() {
            out.insert("x".to_owned(), Json::Object(extra));
        }
        Json::Object(out)
    }
}

/// A value spread over the columns.
#[derive(Default)]
struct Cells<'a> {
    number: Option<&'a str>,
    text: Option<std::borrow::Cow<'a, str>>,
    unit: Option<&'a str>,
    source_value: Option<&'a str>,
    source_unit: Option<&'a str>,
    comparator: Option<&'a str>,
    absent: Option<Missing>,
    extra: Map<String, Json>,
}

impl<'a> Cells<'a> {
    fn of(value: &'a Value) -> Self {
        let mut cells = Self::default();
        match value {
            Value::Quantity(quantity) => {
                cells.number = Some(&quantity.value);
                cells.unit = Some(&quantity.unit);
                cells.source_value = Some(&quantity.source_value);
                cells.source_unit = quantity.source_unit.as_deref();
                cells.comparator = quantity.comparator.as_deref();
            }
            Value::Coded(coded) => {
                let text = coded.coding.display.as_deref().or(coded.text.as_deref()).unwrap_or(&coded.coding.code);
                cells.text = Some(text.into());
                cells.source_value = Some(&coded.coding.code);
                cells.extra.insert("coding".to_owned(), coding(&coded.coding));
                if let Some(text) = &coded.text {
                    cells.extra.insert("text".to_owned(), text.as_str().into());
                }
            }
            Value::Text(text) => cells.text = Some(text.into()),
            Value::Boolean(truth) => cells.text = Some(if *truth { "true" } else { "false" }.into()),
            Value::Waveform(wave) => {
                cells.text = Some((&wave.samples).into());
                cells.unit = Some(&wave.unit);
                let rest = json!({"origin": wave.origin, "period_ms": wave.period_ms, "factor": wave.factor,
                    "dimensions": wave.dimensions});
                cells.extra.insert("waveform".to_owned(), rest);
            }
            Value::Document(document) => {
                cells.text = Some(hex(&document.sha256).into());
                let rest = json!({"content_type": document.content_type, "bytes": document.bytes,
                    "title": document.title});
                cells.extra.insert("document".to_owned(), rest);
            }
            Value::Absent(missing) => cells.absent = Some(*missing),
        }
        cells
    }
}

const fn missing_word(missing: Missing) -> &'static str {
    missing.as_str()
}

fn coding(coding: &Coding) -> Json {
    json!({"system": coding.system, "code": coding.code, "display": coding.display})
}

fn codings(all: &[Coding]) -> Json {
    all.iter().map(coding).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
