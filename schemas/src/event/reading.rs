//! One clinical observation.

use std::{borrow::Cow, sync::Arc};

use uuid::Uuid;

use super::{DeviceId, Flag, PatientId, SourceName};
use crate::{
    codec::{Element, Event, Fingerprint, avro_enum, avro_record, avro_union},
    format::{Format, Provider, RawTopic},
    moment::Precision,
};

/// A text of the catalogue or of the source. Texts of the catalogue are borrowed, so they are not copied for each reading.
pub type Text = Cow<'static, str>;

avro_record! {
    /// One clinical observation, as the normalizer derived it from one item of a raw record.
    pub struct Reading {
        /// Name-based UUID of the observation. A retry, a replay and a better mapping produce the same UUID (see `identity`).
        pub reading_id: Uuid,
        /// The provider that sent the reading.
        pub provider: Provider,
        /// The stable source name of the credential that sent the reading.
        pub source: SourceName,
        /// The device that measured; absent when neither the payload nor the request names one.
        pub device: Option<Device>,
        /// The hub that forwarded the reading; absent when there is none.
        pub gateway: Option<Device>,
        /// The patient whom the request authenticated.
        pub subject: Option<PatientId>,
        /// The patient whom the payload names. This is only a claim and is never used for attribution.
        pub patient_claim: Option<String>,
        /// What was observed: a LOINC code where one exists, else a code of the source's own system.
        pub code: Coding,
        /// All codes as the source wrote them, in addition to the canonical code.
        pub source_codes: Vec<Coding>,
        /// The observed value; `Missing::Panel` when only the components have values.
        pub value: Value,
        /// The parts of a panel such as a blood pressure.
        pub components: Vec<Component>,
        /// The state of the observation (FHIR R4 ObservationStatus, and `deleted`).
        pub status: Status,
        /// When the measurement began, microseconds since 1970-01-01T00:00:00Z; the start of the time span when imprecise.
        pub measured_from: Option<i64>,
        /// When the measurement ended, microseconds since the epoch; absent when the source gives no end.
        pub measured_until: Option<i64>,
        /// The exclusive end of the time span that an imprecise `measured_from` denotes (a day, a month, a year).
        pub imprecise_until: Option<i64>,
        /// How precisely the source wrote `measured_from`.
        pub time_precision: Precision,
        /// The sender's offset from UTC in minutes; absent when the sender wrote none.
        pub offset_minutes: Option<i32>,
        /// The text from which `measured_from` was read.
        pub measured_text: Option<String>,
        /// The text from which `measured_until` was read.
        pub measured_until_text: Option<String>,
        /// When the broker appended the raw record, microseconds since the epoch.
        pub received_at: i64,
        /// The source's own version number (FHIR `meta.versionId` when numeric).
        pub source_version: Option<i64>,
        /// The source's own time of this version, microseconds since the epoch (`lastUpdated`, `issued`, `receivedTime`).
        pub source_updated_at: Option<i64>,
        /// Hash over the literals that the source wrote for the item. Identical content is never a new version.
        pub content: [u8; 16],
        /// What a reader should know about how the value was derived.
        pub flags: Vec<Flag>,
        /// The raw record and the mapping from which the reading was made.
        pub provenance: Provenance,
        /// The id of the key with which the health data in this event is encrypted; absent while it is not encrypted (ADR 2).
        pub key_id: Option<String>,
        /// Whether the item no longer yields the reading: the mapping of a replay did not produce it. The other fields are those of the
        /// stored reading.
        pub withdrawn: bool,
        /// The number of the replay that published the event; absent in events of the normalizer.
        pub replay: Option<i32>,
    }
}

impl Reading {
    /// Creates a reading in which only `source` is set, for callers that fill in the fields one after the other.
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
                catalogue_revision: 0,
            },
            key_id: None,
            withdrawn: false,
            replay: None,
        }
    }

    /// Returns the raw topic of the raw record from which the reading was made.
    #[must_use]
    pub fn raw_topic(&self) -> RawTopic {
        self.provenance.topic.unwrap_or(self.provider.raw_topic(Format::StandardJson))
    }
}

impl Event for Reading {
    const NAME: &'static str = "devicemanager.Reading";
    const SCHEMA: &'static str = include_str!("../../avro/reading.avsc");
    const FINGERPRINT: Fingerprint = Fingerprint([0x2d, 0xf2, 0x06, 0x1c, 0x78, 0xbf, 0x1c, 0x33]);
}

avro_record! {
    /// A measuring device or a gateway. All readings of a device share its texts.
    pub struct Device {
        /// Name-based UUID over the provider and `id`. It is the `_id` of device commands and the key of events.
        pub key: Uuid,
        /// The device's identifier as its provider writes it.
        pub id: DeviceId,
        /// The manufacturer's name as the payload has it.
        pub manufacturer: Option<Arc<str>>,
        /// The model as the payload has it.
        pub model: Option<Arc<str>>,
        /// The serial number as the payload has it.
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
        /// The display text of the code.
        pub display: Option<Text>,
    }
}

impl Element for Coding {}

avro_record! {
    /// One part of a panel.
    pub struct Component {
        /// The code of the part.
        pub code: Coding,
        /// All codes of the part as the source wrote them.
        pub source_codes: Vec<Coding>,
        /// The value of the part.
        pub value: Value,
        /// What a reader should know about how the value of the part was derived.
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
        /// A text, or a date or time that is a value, as the source wrote it.
        Text(String) = 2_i64,
        /// True or false.
        Boolean(bool) = 3_i64,
        /// A series of samples.
        Waveform(Waveform) = 4_i64,
        /// A reference to a document on the `documents` topic.
        Document(DocumentReference) = 5_i64,
        /// No value; the reason for its absence.
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
    /// A value that is a code.
    pub struct Coded {
        /// The first coding of the value.
        pub coding: Coding,
        /// The text that the source gives for the value.
        pub text: Option<String>,
    }
}

avro_record! {
    /// A series of samples at equal intervals of time (FHIR R4 SampledData).
    pub struct Waveform {
        /// The value that a sample of zero stands for, as decimal text.
        pub origin: String,
        /// The UCUM unit of a sample.
        pub unit: Text,
        /// Milliseconds between two samples, as decimal text.
        pub period_ms: String,
        /// The factor by which a sample is multiplied before the origin is added, as decimal text.
        pub factor: String,
        /// The number of samples at each point in time.
        pub dimensions: i32,
        /// The samples as decimal texts, which may have exponents, separated by single spaces. `E`, `U` and `L` have the meaning of
        /// FHIR.
        pub samples: String,
    }
}

avro_record! {
    /// A reference to a document on the `documents` topic.
    pub struct DocumentReference {
        /// The SHA-256 of the document.
        pub sha256: [u8; 32],
        /// The media type of the document.
        pub content_type: String,
        /// The length of the document in bytes.
        pub bytes: i64,
        /// The title of the document; absent when the source gives none.
        pub title: Option<String>,
    }
}

avro_record! {
    /// The raw record and the mapping from which a reading was made.
    pub struct Provenance {
        /// The raw topic; absent in events older than this field, when each provider had one topic for all formats.
        pub topic: Option<RawTopic>,
        /// The epoch of the raw topic, which an operator raises when the topic is created anew.
        pub topic_epoch: i32,
        /// The partition of the raw record.
        pub partition: i32,
        /// The offset of the raw record.
        pub offset: i64,
        /// The position of the item in the payload, from 0.
        pub item: i32,
        /// The format as which the payload was read.
        pub format: Format,
        /// The version of the mapping that made the reading.
        pub mapping_version: i32,
        /// The revision of the installation's own catalogue with which the payload was mapped; 0 without one.
        pub catalogue_revision: i32,
    }
}

avro_enum! {
    /// The state of an observation (FHIR R4 ObservationStatus, and `deleted`).
    pub enum Status {
        /// Complete and verified.
        Final = "final",
        /// A first result, which may change.
        Preliminary = "preliminary",
        /// Changed after it was final.
        Amended = "amended",
        /// Changed after it was final, to correct an error.
        Corrected = "corrected",
        /// The observation is recorded, but has no result yet.
        Registered = "registered",
        /// Not completed.
        Cancelled = "cancelled",
        /// Entered in error; the observation should never have existed.
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
        /// The value is expected to exist but is not known.
        Unknown = "unknown",
        /// The source was asked, but does not know the value.
        AskedUnknown = "asked-unknown",
        /// The value is not known yet, but may become known.
        TemporarilyUnknown = "temp-unknown",
        /// The value was not asked for.
        NotAsked = "not-asked",
        /// The source was asked, but declined to answer.
        AskedDeclined = "asked-declined",
        /// The value is withheld, for example for privacy.
        Masked = "masked",
        /// No value applies.
        NotApplicable = "not-applicable",
        /// The source system does not support the value.
        Unsupported = "unsupported",
        /// The value exists only as text.
        AsText = "as-text",
        /// The device or the process failed, so that there is no value.
        Error = "error",
        /// The result is not a number.
        NotANumber = "not-a-number",
        /// The number is too low to be represented.
        NegativeInfinity = "negative-infinity",
        /// The number is too high to be represented.
        PositiveInfinity = "positive-infinity",
        /// The measurement was not performed.
        NotPerformed = "not-performed",
        /// A value is not permitted in this context.
        NotPermitted = "not-permitted",
    }
}
