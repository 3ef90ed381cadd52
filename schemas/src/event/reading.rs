//! One clinical observation.

use std::{borrow::Cow, sync::Arc};

use uuid::Uuid;

use super::{DeviceId, Flag, PatientId, SourceName};
use crate::{
    codec::{Element, Event, Fingerprint, avro_enum, avro_record, avro_union},
    format::{Format, Provider, RawTopic},
    moment::Precision,
};

/// A text that is the catalogue's or the source's: what the catalogue says is not copied for each reading.
pub type Text = Cow<'static, str>;

avro_record! {
    /// One clinical observation, as the normalizer derived it from one item of a raw record.
    pub struct Reading {
        /// Name-based UUID of the observation; the same for a retry, a replay and a better mapping (`identity`).
        pub reading_id: Uuid,
        /// Who sent it.
        pub provider: Provider,
        /// The stable name of the credential that sent it.
        pub source: SourceName,
        /// The device that measured, where the payload or the request names one.
        pub device: Option<Device>,
        /// The hub that passed the reading on, where there is one.
        pub gateway: Option<Device>,
        /// The patient that the request authenticated.
        pub subject: Option<PatientId>,
        /// What the payload claims as its patient. A claim only: never used for attribution.
        pub patient_claim: Option<String>,
        /// What was observed: LOINC where a code exists, else the source's own system.
        pub code: Coding,
        /// All codes as the source wrote them, beside the canonical one.
        pub source_codes: Vec<Coding>,
        /// The observed value; absent with `Missing::Panel` when only the components carry values.
        pub value: Value,
        /// The parts of a panel such as a blood pressure.
        pub components: Vec<Component>,
        /// The state of the observation (FHIR R4 ObservationStatus, and `deleted`).
        pub status: Status,
        /// When the measurement began, microseconds since 1970-01-01T00:00:00Z; the start of the span when imprecise.
        pub measured_from: Option<i64>,
        /// When the measurement ended, where the source gives a period with an end.
        pub measured_until: Option<i64>,
        /// The exclusive end of the span that an imprecise `measured_from` denotes (a day, a month, a year).
        pub imprecise_until: Option<i64>,
        /// How precisely the source wrote `measured_from`.
        pub time_precision: Precision,
        /// The sender's offset from UTC in minutes, where it wrote one.
        pub offset_minutes: Option<i32>,
        /// The text from which `measured_from` was read.
        pub measured_text: Option<String>,
        /// The text from which `measured_until` was read.
        pub measured_until_text: Option<String>,
        /// When the broker appended the raw record, microseconds since the epoch.
        pub received_at: i64,
        /// The source's own version number (FHIR `meta.versionId` when numeric).
        pub source_version: Option<i64>,
        /// The source's own time of this version, microseconds (`lastUpdated`, `issued`, `receivedTime`).
        pub source_updated_at: Option<i64>,
        /// Hash over the source's literals of the item: identical content is never a new version.
        pub content: [u8; 16],
        /// What a reader should know about how the value was derived.
        pub flags: Vec<Flag>,
        /// Where the reading came from.
        pub provenance: Provenance,
        /// The key the health data in this event is encrypted with; none while it is in clear (ADR on erasure).
        pub key_id: Option<String>,
    }
}

impl Reading {
    /// A reading with nothing in it, for who fills in one field after the other.
    #[must_use]
    pub fn blank(source: SourceName) -> Self {
        Self {
            reading_id: Uuid::nil(),
            provider: Provider::Medisante,
            source,
            device: None,
            gateway: None,
            subject: None,
            patient_claim: None,
            code: Coding { system: "".into(), code: "".into(), display: None },
            source_codes: Vec::new(),
            value: Value::Absent(Missing::Unknown),
            components: Vec::new(),
            status: Status::Unknown,
            measured_from: None,
            measured_until: None,
            imprecise_until: None,
            time_precision: Precision::None,
            offset_minutes: None,
            measured_text: None,
            measured_until_text: None,
            received_at: 0,
            source_version: None,
            source_updated_at: None,
            content: [0; 16],
            flags: Vec::new(),
            provenance: Provenance {
                topic: None,
                topic_epoch: 0,
                partition: 0,
                offset: 0,
                item: 0,
                format: Format::StandardJson,
                mapping_version: 0,
            },
            key_id: None,
        }
    }

    /// The raw topic that the reading came from.
    #[must_use]
    pub fn raw_topic(&self) -> RawTopic {
        self.provenance.topic.unwrap_or(self.provider.raw_topic(Format::StandardJson))
    }
}

impl Event for Reading {
    const NAME: &'static str = "devicemanager.Reading";
    const SCHEMA: &'static str = include_str!("../../avro/reading.avsc");
    const FINGERPRINT: Fingerprint = Fingerprint([0xed, 0xfb, 0xe4, 0x4d, 0x1f, 0x8f, 0x63, 0x07]);
}

avro_record! {
    /// A measuring device or a gateway. Its readings share its texts.
    pub struct Device {
        /// Name-based UUID of provider and `id`: the `_id` of device commands and the key of events.
        pub key: Uuid,
        /// The device's identifier as its provider writes it.
        pub id: DeviceId,
        /// The manufacturer's name as the payload says it.
        pub manufacturer: Option<Arc<str>>,
        /// The model as the payload says it.
        pub model: Option<Arc<str>>,
        /// The serial number as the payload says it.
        pub serial: Option<Arc<str>>,
    }
}

avro_record! {
    /// A code in a code system (FHIR R4 Coding).
    pub struct Coding {
        /// The URI of the code system.
        pub system: Text,
        /// The code.
        pub code: Text,
        /// The code's text.
        pub display: Option<Text>,
    }
}

impl Element for Coding {}

avro_record! {
    /// One part of a panel.
    pub struct Component {
        /// What the part is.
        pub code: Coding,
        /// All codes of the part as the source wrote them.
        pub source_codes: Vec<Coding>,
        /// Its value.
        pub value: Value,
        /// What a reader should know about how the part's value was derived.
        pub flags: Vec<Flag>,
    }
}

impl Element for Component {}

avro_union! {
    /// An observed value.
    pub enum Value {
        /// A number with a unit.
        Quantity(Quantity) = 0_i64,
        /// A code.
        Coded(Coded) = 1_i64,
        /// Text, and dates and times that are values, as the source wrote them.
        Text(String) = 2_i64,
        /// True or false.
        Boolean(bool) = 3_i64,
        /// A series of samples.
        Waveform(Waveform) = 4_i64,
        /// A document kept on the `documents` topic.
        Document(DocumentReference) = 5_i64,
        /// No value, and why.
        Absent(Missing) = 6_i64,
    }
}

avro_record! {
    /// A number with a unit.
    pub struct Quantity {
        /// The canonical value: plain decimal text, computed exactly.
        pub value: String,
        /// The canonical UCUM unit; `1` for a number without a dimension.
        pub unit: Text,
        /// The number exactly as the source wrote it.
        pub source_value: String,
        /// The unit exactly as the source wrote it.
        pub source_unit: Option<String>,
        /// `<`, `<=`, `>=` or `>` (FHIR R4 QuantityComparator) when the number is a bound.
        pub comparator: Option<String>,
    }
}

avro_record! {
    /// A coded value.
    pub struct Coded {
        /// The first coding.
        pub coding: Coding,
        /// The source's text for it.
        pub text: Option<String>,
    }
}

avro_record! {
    /// A series of samples at even distance (FHIR R4 SampledData).
    pub struct Waveform {
        /// The value of a sample of zero, as decimal text.
        pub origin: String,
        /// The UCUM unit of a sample.
        pub unit: Text,
        /// Milliseconds between two samples, as decimal text.
        pub period_ms: String,
        /// By what a sample is multiplied before the origin is added, as decimal text.
        pub factor: String,
        /// Samples at each point in time.
        pub dimensions: i32,
        /// The samples as decimal texts, which may have exponents, separated by single spaces; `E`, `U` and `L` as FHIR defines
        /// them.
        pub samples: String,
    }
}

avro_record! {
    /// A document that lies on the `documents` topic.
    pub struct DocumentReference {
        /// SHA-256 of the document's bytes.
        pub sha256: [u8; 32],
        /// Its media type.
        pub content_type: String,
        /// Its length in bytes.
        pub bytes: i64,
        /// Its title where the source gives one.
        pub title: Option<String>,
    }
}

avro_record! {
    /// Where a reading came from.
    pub struct Provenance {
        /// The raw topic; none where the event was written before this field, when each provider had one topic for all formats.
        pub topic: Option<RawTopic>,
        /// The incarnation of the raw topic.
        pub topic_epoch: i32,
        /// The raw topic's partition.
        pub partition: i32,
        /// The raw record's offset.
        pub offset: i64,
        /// The item within the raw record, from 0.
        pub item: i32,
        /// The format the payload was read as.
        pub format: Format,
        /// The version of the mapping that made the reading.
        pub mapping_version: i32,
    }
}

avro_enum! {
    /// The state of an observation (FHIR R4 ObservationStatus, and `deleted`).
    pub enum Status {
        /// Complete and verified.
        Final = "final",
        /// Initial, may change.
        Preliminary = "preliminary",
        /// Changed after it was final.
        Amended = "amended",
        /// Changed after it was final, to correct an error.
        Corrected = "corrected",
        /// Existence is recorded, no result yet.
        Registered = "registered",
        /// Not completed.
        Cancelled = "cancelled",
        /// Never should have existed.
        EnteredInError = "entered-in-error",
        /// The source deleted it.
        Deleted = "deleted",
        /// The source does not know.
        Unknown = "unknown",
    }
}

avro_enum! {
    /// Why a value is absent (FHIR R4 DataAbsentReason, and `panel`).
    pub enum Missing {
        /// The value is in the components.
        Panel = "panel",
        /// Not known.
        Unknown = "unknown",
        /// The source asked and was not told.
        AskedUnknown = "asked-unknown",
        /// Not known for now.
        TemporarilyUnknown = "temp-unknown",
        /// Nobody asked.
        NotAsked = "not-asked",
        /// The subject declined.
        AskedDeclined = "asked-declined",
        /// Withheld.
        Masked = "masked",
        /// Does not apply.
        NotApplicable = "not-applicable",
        /// The format cannot carry it.
        Unsupported = "unsupported",
        /// Only text carries it.
        AsText = "as-text",
        /// The device or the process failed.
        Error = "error",
        /// Not a number.
        NotANumber = "not-a-number",
        /// Below what a number can carry.
        NegativeInfinity = "negative-infinity",
        /// Above what a number can carry.
        PositiveInfinity = "positive-infinity",
        /// Not performed.
        NotPerformed = "not-performed",
        /// Not permitted.
        NotPermitted = "not-permitted",
    }
}
