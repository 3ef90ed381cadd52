//! A reading as a row: its columns in the order of the table, written once, when it is read.
//!
//! What a row needs of the transaction, the numbers of its dictionary entries, is left blank: see [`crate::stage`].

pub(crate) mod storable;
mod value;

use schemas::{
    event::{Coding, Device, Reading, Value},
    format::RawTopic,
    identity::Content,
    receipt::{Position, ReceiptKey},
    version::Version,
};
use uuid::Uuid;

use crate::copy::{RowFault, Tuple, numeric};
use value::Cells;
pub(crate) use value::padded;

/// The columns of `readings` in the order in which they are encoded.
pub(crate) const COLUMNS: &str = "reading_id, content, device_key, measured_from, measured_until, imprecise_until, \
    received_at, raw_offset, receipt_mac, source_version, source_updated_at, first_received_at, first_offset, \
    first_topic_code, first_topic_epoch, first_partition, first_item, topic_code, topic_epoch, raw_partition, item, \
    mapping_version, coding_id, description_id, gateway_id, offset_minutes, provider, format, status, time_precision, \
    source, subject, patient_claim, value_num, value_text, unit, source_value, source_unit, comparator, absent, \
    measured_text, measured_until_text, flags, components, extra, key_id";
const COLUMN_COUNT: i16 = 46;

/// A reading that can be written.
pub struct Row {
    /// The event.
    pub reading: Reading,
    /// What is known of its content.
    pub version: Version,
    mac: i64,
    pub(crate) encoded: Encoded,
}

/// A row in the binary form of COPY, and where the numbers of dictionary entries belong in it.
#[derive(Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Of the code.
    pub(crate) code: usize,
    pub(crate) device: Option<usize>,
    pub(crate) gateway: Option<usize>,
    /// Of the codes in the JSON of the components, in their order: as many bytes as [`padded`] gives.
    pub(crate) parts: Vec<usize>,
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
        topic: reading.raw_topic(),
        topic_epoch: u16::try_from(from.topic_epoch).map_err(|_| RowFault::Number)?,
        partition: from.partition,
        offset: from.offset,
        item: u32::try_from(item).map_err(|_| RowFault::Number)?,
    }))
}

impl Row {
    /// Checks everything that Postgres could refuse, and encodes the row.
    ///
    /// # Errors
    /// [`RowFault`] says what cannot be stored; the reading comes back.
    pub fn new(reading: Reading, key: &ReceiptKey) -> Result<Self, (Box<Reading>, RowFault)> {
        let version = Version::of(&reading);
        let mac = check(&reading).and_then(|()| mac(&reading, key));
        let encoded = mac.and_then(|mac| {
            let (encoded, checked) = Encoded::of(&reading, version, mac);
            checked.map(|()| (mac, encoded))
        });
        match encoded {
            Ok((mac, encoded)) => Ok(Self { reading, version, mac, encoded }),
            Err(fault) => Err((Box::new(reading), fault)),
        }
    }

    /// The row under the version that it comes to together with other deliveries, whose times were checked as well.
    pub(crate) fn encoded_as(&self, version: Version) -> Encoded {
        Encoded::of(&self.reading, version, self.mac).0
    }

    /// The hash of the content, as it stands in the column.
    #[must_use]
    pub const fn content(&self) -> Uuid {
        Uuid::from_bytes(self.reading.content)
    }
}

/// What the encoding does not see, because it stands in another table or inside of JSON.
fn check(reading: &Reading) -> Result<(), RowFault> {
    if let (Some(from), Some(until)) = (reading.measured_from, reading.imprecise_until)
        && until < from
    {
        return Err(RowFault::Time);
    }
    let described = reading.device.iter().chain(&reading.gateway).flat_map(|device| {
        [Some(device.id.as_str()), device.manufacturer.as_deref(), device.model.as_deref(), device.serial.as_deref()]
    });
    let coded = std::iter::once(&reading.code)
        .chain(reading.components.iter().map(|part| &part.code))
        .flat_map(|coding| [Some(coding.system.as_ref()), Some(coding.code.as_ref()), coding.display.as_deref()]);
    if described.chain(coded).flatten().any(|text| text.as_bytes().contains(&0)) {
        return Err(RowFault::Nul);
    }
    let mut scratch = Vec::new();
    for part in &reading.components {
        if let Value::Quantity(quantity) = &part.value {
            numeric(&quantity.value, &mut scratch).ok_or(RowFault::Number)?;
        }
    }
    Ok(())
}

impl Encoded {
    fn of(reading: &Reading, version: Version, mac: i64) -> (Self, Result<(), RowFault>) {
        let mut encoded = Self { bytes: Vec::with_capacity(768), ..Self::default() };
        let mut row = Tuple::begin(&mut encoded.bytes, COLUMN_COUNT);
        row.bytes(reading.reading_id.as_bytes());
        row.bytes(&reading.content);
        row.maybe(reading.device.as_ref(), |row, device| row.bytes(device.key.as_bytes()));
        row.maybe(reading.measured_from, Tuple::time);
        row.maybe(reading.measured_until, Tuple::time);
        row.maybe(reading.imprecise_until, Tuple::time);
        position(&mut row, version, mac);
        encoded.code = row.blank();
        encoded.device = row.blank_if(reading.device.is_some());
        encoded.gateway = row.blank_if(reading.gateway.is_some());
        row.maybe(reading.offset_minutes, Tuple::int);
        row.text(reading.provider.as_str());
        row.text(reading.provenance.format.as_str());
        row.text(reading.status.as_str());
        row.text(reading.time_precision.as_str());
        row.text(reading.source.as_str());
        row.maybe(reading.subject.as_ref(), |row, subject| row.text(subject.as_str()));
        row.maybe(reading.patient_claim.as_deref(), Tuple::text);
        let mut cells = Cells::of(&reading.value);
        row.maybe(cells.number, Tuple::numeric);
        row.maybe(cells.text.as_deref(), Tuple::text);
        row.maybe(cells.unit, Tuple::text);
        row.maybe(cells.source_value, Tuple::text);
        row.maybe(cells.source_unit, Tuple::text);
        row.maybe(cells.comparator, Tuple::text);
        row.maybe(cells.absent, |row, absent| row.text(absent.as_str()));
        row.maybe(reading.measured_text.as_deref(), Tuple::text);
        row.maybe(reading.measured_until_text.as_deref(), Tuple::text);
        let flags = (!reading.flags.is_empty()).then_some(&reading.flags);
        row.maybe(flags, |row, flags| row.texts(flags.iter().map(|flag| flag.as_str())));
        let components = (!reading.components.is_empty()).then_some(&reading.components);
        row.maybe(components, |row, parts| row.json(|out| value::components(parts, &mut encoded.parts, out)));
        let extra = cells.extra(&reading.source_codes);
        row.maybe(extra, |row, extra| row.json(|out| value::write(&extra, out)));
        row.maybe(reading.key_id.as_deref(), Tuple::text);
        let checked = row.finish();
        (encoded, checked)
    }
}

/// A raw topic as positions in tables name it.
pub(crate) fn code(topic: RawTopic) -> i16 {
    i16::from(topic.code())
}

/// The raw topic that a position in a table names.
pub(crate) fn topic_of(code: i16) -> Result<RawTopic, sqlx::Error> {
    let unknown = || sqlx::Error::Decode(format!("there is no raw topic with the code {code}").into());
    u8::try_from(code).ok().and_then(RawTopic::from_code).ok_or_else(unknown)
}

fn position(row: &mut Tuple<'_>, version: Version, mac: i64) {
    let Version { source, first, mapping_version, row: own } = version;
    row.time(own.at);
    row.long(own.offset);
    row.long(mac);
    row.maybe(source.number, Tuple::long);
    row.maybe(source.updated_at, Tuple::time);
    let first = (first != own).then_some(first);
    row.maybe(first, |row, first| row.time(first.at));
    row.maybe(first, |row, first| row.long(first.offset));
    row.maybe(first, |row, first| row.short(code(first.topic)));
    row.maybe(first, |row, first| row.int(first.topic_epoch));
    row.maybe(first, |row, first| row.int(first.partition));
    row.maybe(first, |row, first| row.int(first.item));
    row.short(code(own.topic));
    row.int(own.topic_epoch);
    row.int(own.partition);
    row.int(own.item);
    row.int(mapping_version);
}
