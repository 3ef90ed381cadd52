//! The conversion between a reading and its row. [`columns`] defines each column once; `value` and `instant` define what is not
//! stored because it can be derived from the rest.
//!
//! The ids of the dictionary entries are known only in the transaction. An encoded row has placeholders for them.

mod column;
mod columns;
mod dictionary;
mod draft;
mod instant;
mod load;
mod unreadable;
mod value;

use schemas::{
    event::{Reading, Value},
    receipt::{ItemPosition, ReceiptKey},
    version::{Appended, Version},
};
use uuid::Uuid;

use crate::copy::{RowFault, Tuple, numeric};
pub use column::Placeholders;
use column::RowInput;
use columns::COLUMNS;
pub(crate) use columns::column_comments;
pub use columns::{column_names, columns};
pub use dictionary::Dictionary;
pub use load::{StoredReading, load};
use value::Cells;
pub use value::padded;

/// A checked and encoded reading that can be written.
pub struct Row {
    /// The event.
    pub reading: Reading,
    /// The version of its content.
    pub version: Version,
    encoded: Encoded,
}

/// A row in the binary format of COPY, with the positions of the ids of dictionary entries.
pub struct Encoded {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The positions of the ids.
    pub placeholders: Placeholders,
}

fn mac(reading: &Reading, key: &ReceiptKey) -> Result<i64, RowFault> {
    let from = &reading.provenance;
    let item = if from.format.has_item_receipts(reading.provider) { from.item } else { 0 };
    Ok(key.mac(&ItemPosition {
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
    /// The reading, and the [`RowFault`] that says what cannot be stored.
    pub fn new(reading: Reading, key: &ReceiptKey) -> Result<Self, (Box<Reading>, RowFault)> {
        let version = Version::of(&reading);
        let mac = check(&reading).and_then(|()| mac(&reading, key));
        let encoded = mac.and_then(|mac| {
            let (encoded, checked) = Encoded::of(&reading, version, mac);
            checked.map(|()| encoded)
        });
        match encoded {
            Ok(encoded) => Ok(Self { reading, version, encoded }),
            Err(fault) => Err((Box::new(reading), fault)),
        }
    }

    /// Returns the encoded row.
    #[must_use]
    pub const fn encoded(&self) -> &Encoded {
        &self.encoded
    }

    /// Returns the hash of the content, in the form of the column.
    #[must_use]
    pub const fn content(&self) -> Uuid {
        Uuid::from_bytes(self.reading.content)
    }
}

/// Checks what the encoding does not check, because it is in another table or inside JSON, or is derived from other columns.
fn check(reading: &Reading) -> Result<(), RowFault> {
    if let (Some(from), Some(until)) = (reading.measured_from, reading.imprecise_until)
        && until < from
    {
        return Err(RowFault::Time);
    }
    if reading.raw_topic().provider() != Some(reading.provider) {
        return Err(RowFault::Provider);
    }
    let described = reading.device.iter().chain(&reading.gateway).flat_map(|device| {
        [Some(device.id.as_str()), device.manufacturer.as_deref(), device.model.as_deref(), device.serial.as_deref()]
    });
    let coded = std::iter::once(&reading.code)
        .chain(reading.components.iter().map(|component| &component.code))
        .flat_map(|coding| [Some(coding.system.as_ref()), Some(coding.code.as_ref()), coding.display.as_deref()]);
    if described.chain(coded).flatten().any(|text| text.as_bytes().contains(&0)) {
        return Err(RowFault::Nul);
    }
    std::iter::once(&reading.value)
        .chain(reading.components.iter().map(|component| &component.value))
        .try_for_each(check_json)
}

/// Checks the numbers that are texts inside JSON and that the views read as numbers.
fn check_json(value: &Value) -> Result<(), RowFault> {
    let mut scratch = Vec::new();
    let mut is_number = |text: &str| numeric(text, &mut scratch).ok_or(RowFault::Number);
    match value {
        Value::Quantity(quantity) => is_number(&quantity.value),
        Value::Waveform(wave) => {
            [&wave.origin, &wave.period_ms, &wave.factor].into_iter().try_for_each(|text| is_number(text))
        }
        Value::Coded(_) | Value::Text(_) | Value::Boolean(_) | Value::Document(_) | Value::Absent(_) => Ok(()),
    }
}

impl Encoded {
    fn of(reading: &Reading, version: Version, mac: i64) -> (Self, Result<(), RowFault>) {
        let mut encoded = Self { bytes: Vec::with_capacity(768), placeholders: Placeholders::default() };
        let from = RowInput { reading, version, mac, cells: Cells::of(&reading.value) };
        let mut row = Tuple::begin(&mut encoded.bytes, COLUMNS.len());
        for column in COLUMNS {
            (column.write)(&mut row, &from, &mut encoded.placeholders);
        }
        let checked = row.finish();
        (encoded, checked)
    }
}

impl RowInput<'_> {
    /// Returns the first append of the content; `None` when it is the append of the row.
    fn first(&self) -> Option<Appended> {
        (self.version.first != self.version.row).then_some(self.version.first)
    }
}
