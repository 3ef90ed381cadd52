//! What a mapping found out about one observation, before it becomes the event.
//!
//! The mapping of every format ends here: it says what was observed, and [`Observed::reading`] adds what is the same for every
//! reading of a record: its id, its provenance and the flags that depend on the time of receipt.

mod quantity;
mod time;
mod waveform;

use schemas::{
    event::{Coding, Component, Device, DeviceId, Document, Flag, Provenance, Reading, Status, Value},
    format::{Format, Provider},
    identity::{ContentDigest, Identity, TrustScope, device_key, reading_id},
    raw::RawRecord,
    rejection::Reason,
};
use uuid::Uuid;

use crate::{
    drift::Shapes,
    normalized::{MAPPING_VERSION, Rejection},
    refusal::{Refused, RefusedItem, refused},
};

pub(crate) use quantity::{NO_UNIT, SourceNumber, coding, ucum};
pub(crate) use time::Times;
pub(crate) use waveform::{Series, waveform};

/// The maximum number of components of a reading: each takes many times the bytes in which it is written.
pub(crate) const PARTS_MAX: usize = 1_000;
/// The refusal of an item with more components than [`PARTS_MAX`].
pub(crate) const TOO_MANY_PARTS: Refused = refused(Reason::TooLarge, "the item has more than 1,000 parts");

/// A code, the codes of the source for the same thing, and the value.
pub(crate) struct Coded {
    /// The canonical code.
    pub(crate) code: Coding,
    /// The codes as the source wrote them.
    pub(crate) source_codes: Vec<Coding>,
    /// The value.
    pub(crate) value: Value,
    /// How the value was derived.
    pub(crate) flags: Vec<Flag>,
}

impl From<Coded> for Component {
    fn from(part: Coded) -> Self {
        Self { code: part.code, source_codes: part.source_codes, value: part.value, flags: part.flags }
    }
}

/// One observation, mapped.
pub(crate) struct Observed {
    /// The index of the item in the payload.
    pub(crate) item: u32,
    /// The device that measured.
    pub(crate) device: Option<Device>,
    /// The hub that passed the reading on.
    pub(crate) gateway: Option<Device>,
    /// The patient whom the payload names.
    pub(crate) patient_claim: Option<String>,
    /// The code and the value.
    pub(crate) coded: Coded,
    /// The components of a panel.
    pub(crate) components: Vec<Component>,
    /// The status of the observation.
    pub(crate) status: Status,
    /// The time of the measurement.
    pub(crate) times: Times,
    /// The version number that the source gives.
    pub(crate) source_version: Option<i64>,
    /// The time of this version that the source gives.
    pub(crate) source_updated_at: Option<i64>,
}

impl Observed {
    /// A final observation that nobody has corrected. The caller sets the time.
    pub(crate) fn new(item: u32, device: Option<Device>, coded: Coded, components: Vec<Component>) -> Self {
        Self {
            item,
            device,
            gateway: None,
            patient_claim: None,
            coded,
            components,
            status: Status::Final,
            times: Times::default(),
            source_version: None,
            source_updated_at: None,
        }
    }

    /// Builds the event. `identity` and `content` consist of what the source wrote, never of mapped values.
    pub(crate) fn reading(self, payload: Payload<'_>, identity: Identity<'_>, content: ContentDigest) -> Reading {
        const DAY_US: i64 = 86_400_000_000;
        let Payload { record, provider, format } = payload;
        let mut flags = self.coded.flags;
        if self.times.local {
            flags.push(Flag::LocalTime);
        }
        if self.times.from.is_some_and(|from| from > record.received_at.saturating_add(DAY_US)) {
            flags.push(Flag::MeasuredInFuture);
        }
        // Finished before the id is computed: a waveform's literals are long, and this frees their buffer before the id
        // allocates its own.
        let content = content.finish();
        let scope =
            record.headers.subject.as_ref().map_or(TrustScope::Source(&record.headers.source), TrustScope::Subject);
        Reading {
            reading_id: reading_id(scope, provider, identity),
            provider,
            source: record.headers.source.clone(),
            device: self.device,
            gateway: self.gateway,
            subject: record.headers.subject.clone(),
            patient_claim: self.patient_claim,
            code: self.coded.code,
            source_codes: self.coded.source_codes,
            value: self.coded.value,
            components: self.components,
            status: self.status,
            measured_from: self.times.from,
            measured_until: self.times.until,
            imprecise_until: self.times.imprecise_until,
            time_precision: self.times.precision,
            offset_minutes: self.times.offset_minutes,
            measured_text: self.times.from_text,
            measured_until_text: self.times.until_text,
            received_at: record.received_at,
            source_version: self.source_version,
            source_updated_at: self.source_updated_at,
            content,
            flags,
            provenance: Provenance {
                topic: Some(record.topic),
                topic_epoch: i32::from(record.topic_epoch),
                partition: record.partition,
                offset: record.offset,
                item: i32::try_from(self.item).unwrap_or(i32::MAX),
                format,
                mapping_version: MAPPING_VERSION,
                catalogue_revision: catalogue::revision(),
            },
            key_id: record.headers.key_id.clone(),
            withdrawn: false,
            replay: None,
        }
    }
}

/// A raw record to be mapped, with its provider and its format.
#[derive(Clone, Copy)]
pub(crate) struct Payload<'r> {
    /// The record.
    pub(crate) record: &'r RawRecord<'r>,
    /// The provider that sent the record.
    pub(crate) provider: Provider,
    /// The format of the body.
    pub(crate) format: Format,
}

impl Payload<'_> {
    /// The `_id` of the device that the request names for items that name no device.
    pub(crate) fn request_device(self) -> Option<Uuid> {
        let id = DeviceId::parse(self.record.headers.device_id.as_deref()?).ok()?;
        Some(device_key(self.provider, &id))
    }
}

/// A device of which only the id is known.
pub(crate) fn device(provider: Provider, id: &str) -> Result<Device, Refused> {
    let id = DeviceId::parse(id).map_err(|_| {
        refused(
            Reason::IdentifierInvalid,
            "the device's id is empty, is longer than 256 bytes or has a control character",
        )
    })?;
    Ok(Device { key: device_key(provider, &id), id, manufacturer: None, model: None, serial: None })
}

/// The results of a payload's items.
#[derive(Default)]
pub(crate) struct ItemResults {
    /// The readings, in the order of the payload.
    pub(crate) readings: Vec<Reading>,
    /// The documents that readings cite.
    pub(crate) documents: Vec<Document>,
    /// The items that were refused, or the refusal of the whole payload.
    pub(crate) rejections: Vec<Rejection>,
    /// The shapes of what the mapping does not know.
    pub(crate) unknown: Shapes,
}

impl ItemResults {
    /// Adds the result of an item. `text` is the item as it was sent.
    pub(crate) fn add(&mut self, item: u32, found: Result<Reading, RefusedItem>, text: &str) {
        match found {
            Ok(reading) => {
                self.unknown.reading(&reading);
                self.readings.push(reading);
            }
            Err(refused) => {
                Rejection::add(&mut self.rejections, item, refused, || text.as_bytes().to_vec());
            }
        }
    }

    /// Refuses the payload as a whole.
    pub(crate) fn refuse_all(&mut self, refused: Refused) {
        self.rejections.push(Rejection::whole(refused));
    }
}
